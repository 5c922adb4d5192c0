// Products of tiles with packed weights, for one instruction set; included per instruction set. A sum runs over k in
// ascending order from the bias on, whatever the place of its row in the tile and of its column in a panel.

namespace reluxfast {
namespace RF_ISA {

// Registers of one panel's row, and rows multiplied at once with a panel of so many registers: with the weights' and
// one input's, all registers there are.
template <class A>
constexpr int kPanelRegisters = sizeof(Vec<A>) == 64 ? 4 : 2;
template <class A, int kRegisters>
constexpr int kBlockRows = sizeof(Vec<A>) == 64 && kRegisters > 1 ? 24 / kRegisters : 12 / kRegisters;

template <class A>
int64_t mlp_panel() {
  return kPanelRegisters<A> * Vec<A>::width;
}

// What becomes of the values in a row's columns: they are stored,
template <class A>
struct Store {
  A* to;  // [rows, stride]
  int64_t stride;

  template <int kRegisters>
  RF_INLINE void operator()(int64_t row, int64_t column, const Vec<A>* values) const {
    for (int v = 0; v < kRegisters; ++v) store(to + row * stride + column + v * Vec<A>::width, values[v]);
  }
};

// or stored after the ReLU,
template <class A>
struct StoreRelu {
  A* to;  // [rows, stride]
  int64_t stride;

  template <int kRegisters>
  RF_INLINE void operator()(int64_t row, int64_t column, const Vec<A>* values) const {
    const Vec<A> zero = Vec<A>::broadcast(0);
    for (int v = 0; v < kRegisters; ++v) {
      store(to + row * stride + column + v * Vec<A>::width, larger(zero, values[v]));
    }
  }
};

// or multiplied by the last weight after the ReLU and added up, lane by lane.
template <class A>
struct AddDot {
  A* to;  // [rows, stride], of which a register's width is used
  int64_t stride;
  const A* weight;  // [columns]

  template <int kRegisters>
  RF_INLINE void operator()(int64_t row, int64_t column, const Vec<A>* values) const {
    const Vec<A> zero = Vec<A>::broadcast(0);
    Vec<A> sum = load(to + row * stride);
    for (int v = 0; v < kRegisters; ++v) {
      sum = multiply_add(larger(zero, values[v]), load(weight + column + v * Vec<A>::width), sum);
    }
    store(to + row * stride, sum);
  }
};

template <int kRegisters, class A, class Sink>
void panel_product(const A* in, int64_t stride, int64_t rows, const A* panel, int64_t pitch, int64_t depth,
                   const A* bias, int64_t column, const Sink& sink) {
  using V = Vec<A>;
  constexpr int kRows = kBlockRows<A, kRegisters>;
  for (int64_t row = 0; row < rows; row += kRows) {
    const A* a = in + row * stride;
    V sum[kRows][kRegisters];
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kRegisters; ++v) sum[r][v] = load(bias + column + v * V::width);
    }
    const A* w = panel;
    for (int64_t k = 0; k < depth; ++k, w += pitch) {
      V weight[kRegisters];
      for (int v = 0; v < kRegisters; ++v) weight[v] = load(w + v * V::width);
      for (int r = 0; r < kRows; ++r) {
        const V value = V::broadcast(a[r * stride + k]);
        for (int v = 0; v < kRegisters; ++v) sum[r][v] = multiply_add(value, weight[v], sum[r][v]);
      }
    }
    for (int r = 0; r < kRows; ++r) sink.template operator()<kRegisters>(row + r, column, sum[r]);
  }
}

// Rows of `in`, [rows rounded up to kTileStep, stride], times the layer's weight, and its bias.
template <class A, class Sink>
void product(const A* in, int64_t stride, int64_t rows, const MlpLayer<A>& layer, const Sink& sink) {
  constexpr int width = Vec<A>::width, kMost = kPanelRegisters<A>;
  for (int64_t first = 0; first < layer.columns; first += layer.panel) {
    const int64_t left = layer.columns - first, pitch = left < layer.panel ? left : layer.panel;
    for (int64_t c = 0; c < pitch; c += kMost * width) {
      const A* panel = layer.panels + first * layer.depth + c;
      const auto run = [&](auto multiply) {
        multiply(in, stride, rows, panel, pitch, layer.depth, layer.bias, first + c, sink);
      };
      switch (pitch - c < kMost * width ? (pitch - c) / width : kMost) {
        case 1:
          run(panel_product<1, A, Sink>);
          break;
        case 2:
          run(panel_product<2, A, Sink>);
          break;
        case 3:
          run(panel_product < kMost < 3 ? 1 : 3, A, Sink >);
          break;
        default:
          run(panel_product<kMost, A, Sink>);
      }
    }
  }
}

}  // namespace RF_ISA
}  // namespace reluxfast
