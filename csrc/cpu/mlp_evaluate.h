// The layers behind the first over the rows of a tile, for one instruction set; included per instruction set.

#include "cpu/mlp_product.h"

namespace reluxfast {
namespace RF_ISA {

// Calls make(sink) with what takes the first layer's pre-activations.
template <class A, class F>
RF_INLINE void with_first_sink(const MlpNetwork<A>& net, const MlpScratch<A>& s, const F& make) {
  if (net.layers == 1) return make(Store<A>{s.y(), s.y_stride});
  if (net.layers == 2 && net.ends_in_dot()) return make(AddDot<A>{s.y(), s.y_stride, net.last});
  make(StoreRelu<A>{s.tile(0), s.stride});
}

template <class A>
void clear_dots(const MlpNetwork<A>& net, const MlpScratch<A>& s) {
  if (net.ends_in_dot()) memset(s.y(), 0, s.tile_rows * s.y_stride * sizeof(A));
}

// The layers behind the first, from what its sink was given to y.
template <class A>
void evaluate(const MlpNetwork<A>& net, const MlpScratch<A>& s, int64_t rows) {
  const int last = net.ends_in_dot() ? net.layers - 2 : net.layers - 1;
  for (int l = 1; l <= last; ++l) {
    const A* in = s.tile((l - 1) % 2);
    if (l < last) {
      product(in, s.stride, rows, net.layer[l], StoreRelu<A>{s.tile(l % 2), s.stride});
    } else if (net.ends_in_dot()) {
      product(in, s.stride, rows, net.layer[l], AddDot<A>{s.y(), s.y_stride, net.last});
    } else {
      product(in, s.stride, rows, net.layer[l], Store<A>{s.y(), s.y_stride});
    }
  }
  if (!net.ends_in_dot()) return;
  const A bias = net.layer[net.layers - 1].bias[0];
  for (int64_t row = 0; row < rows; ++row) {
    A* lanes = s.y() + row * s.y_stride;
    for (int half = Vec<A>::width / 2; half > 0; half /= 2) {
      for (int k = 0; k < half; ++k) lanes[k] += lanes[k + half];
    }
    lanes[0] += bias;
  }
}

}  // namespace RF_ISA
}  // namespace reluxfast
