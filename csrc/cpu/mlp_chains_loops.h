// The loops of mlp_chains.h for one instruction set.

#include "cpu/mlp_evaluate.h"

namespace reluxfast {
namespace RF_ISA {

template <class A>
void mlp_direct(const MlpChains<A>& a, const MlpNetwork<A>& net, ChainScratch<A>& s, const A* inputs, A* z, A* f,
                int64_t begin, int64_t end) {
  const MlpLayer<A>& first = net.layer[0];
  for (int64_t start = begin; start < end; start += kTileStep) {
    const int64_t rows = end - start < kTileStep ? end - start : kTileStep;
    for (int64_t row = 0; row < rows; ++row) {
      const A* from = inputs + (start + row) * first.depth;
      A* to = s.features() + row * first.depth;
      for (int64_t j = 0; j < first.depth; ++j) to[j] = from[a.members[j]];
    }
    product(s.features(), first.depth, rows, first, Store<A>{s.tile(1), s.stride});
    clear_dots(net, s);
    with_first_sink(net, s, [&](const auto& sink) {
      for (int64_t row = 0; row < rows; ++row) {
        const A* from = s.tile(1) + row * s.stride;
        for (int64_t c = 0; c < first.columns; c += Vec<A>::width) {
          const Vec<A> value = load(from + c);
          store(z + (start + row) * first.columns + c, value);
          sink.template operator()<1>(row, c, &value);
        }
      }
    });
    evaluate(net, s, rows);
    for (int64_t row = 0; row < rows; ++row) {
      memcpy(f + (start + row) * net.outputs, s.y() + row * s.y_stride, net.outputs * sizeof(A));
    }
  }
}

// A chain's way: from the background to x, or in reverse.
template <class A>
struct Way {
  const A *from, *to;      // [features]
  const A* z;              // [columns of the first layer] of `from`
  const A *f_from, *f_to;  // [outputs]
  const int32_t* order;    // [players]
};

template <class A>
Way<A> way_of(const MlpChains<A>& a, int64_t pair, bool reverse, int64_t columns, const A* z_x, const A* z_b) {
  const int64_t row = pair / a.pairs, back = a.cycle[pair];
  const A *x = a.x + row * a.features(), *b = a.background + back * a.features();
  const A *fx = a.fx + row * a.outputs(), *fb = a.fb + back * a.outputs();
  const int32_t* order = a.permutations + pair * a.players;
  if (reverse) return {x, b, z_x + row * columns, fx, fb, order};
  return {b, x, z_b + back * columns, fb, fx, order};
}

// Positions of a chain from `order` on, each with one player more at its end, into rows of the sink from `row` on.
template <int kRegisters, class A, class Sink>
void walk_columns(const MlpChains<A>& a, const MlpLayer<A>& first, const ChainScratch<A>& s, const int32_t* order,
                  int64_t positions, int64_t row, int64_t column, const Sink& sink) {
  using V = Vec<A>;
  V z[kRegisters];
  for (int v = 0; v < kRegisters; ++v) z[v] = load(s.state() + column + v * V::width);
  for (int64_t t = 0; t < positions; ++t) {
    for (int64_t j = a.starts[order[t]]; j < a.starts[order[t] + 1]; ++j) {
      const V change = V::broadcast(s.step()[j]);
      const A* w = first.panels + j * first.columns + column;
      for (int v = 0; v < kRegisters; ++v) z[v] = multiply_add(change, load(w + v * V::width), z[v]);
    }
    sink.template operator()<kRegisters>(row + t, column, z);
  }
  for (int v = 0; v < kRegisters; ++v) store(s.state() + column + v * V::width, z[v]);
}

template <class A, class Sink>
void walk(const MlpChains<A>& a, const MlpLayer<A>& first, const ChainScratch<A>& s, const int32_t* order,
          int64_t positions, int64_t row, const Sink& sink) {
  constexpr int kRegisters = 4, kColumns = kRegisters * Vec<A>::width;
  int64_t column = 0;
  for (; column + kColumns <= first.columns; column += kColumns) {
    walk_columns<kRegisters>(a, first, s, order, positions, row, column, sink);
  }
  for (; column < first.columns; column += Vec<A>::width) {
    walk_columns<1>(a, first, s, order, positions, row, column, sink);
  }
}

// Marginals of the positions in the tile: forward ones are written, those of the reverse chain averaged in.
template <class A>
void write_marginals(const MlpChains<A>& a, ChainScratch<A>& s, int64_t parts, int64_t columns, const A* z_x,
                     const A* z_b) {
  const int64_t outputs = a.outputs();
  const A* y = s.y();
  for (int64_t p = 0; p < parts; ++p) {
    const ChainPart part = s.parts()[p];
    const Way<A> way = way_of(a, part.pair, part.reverse, columns, z_x, z_b);
    const auto write = [&](int32_t player, const A* before, const A* after) {
      A* to = a.marginals + (part.pair * a.players + player) * outputs;
      for (int64_t k = 0; k < outputs; ++k) {
        to[k] = part.reverse ? A(0.5) * (to[k] + (before[k] - after[k])) : after[k] - before[k];
      }
    };
    const A* before = part.first == 1 ? way.f_from : s.before();
    for (int64_t t = part.first; t < part.end; ++t, y += s.y_stride) {
      write(way.order[t - 1], before, y);
      before = y;
    }
    if (part.end == a.players) {
      write(way.order[part.end - 1], before, way.f_to);
    } else {
      memcpy(s.before(), before, outputs * sizeof(A));
    }
  }
}

template <class A>
void mlp_chain_pairs(const MlpChains<A>& a, const MlpNetwork<A>& net, ChainScratch<A>& s, const A* z_x, const A* z_b,
                     int64_t begin, int64_t end) {
  const MlpLayer<A>& first = net.layer[0];
  int64_t rows = 0, parts = 0;
  const auto finish = [&] {
    evaluate(net, s, rows);
    write_marginals(a, s, parts, first.columns, z_x, z_b);
    clear_dots(net, s);
    rows = parts = 0;
  };
  clear_dots(net, s);
  for (int64_t pair = begin; pair < end; ++pair) {
    for (int reverse = 0; reverse <= a.antithetic; ++reverse) {
      const Way<A> way = way_of(a, pair, reverse != 0, first.columns, z_x, z_b);
      memcpy(s.state(), way.z, first.columns * sizeof(A));
      for (int64_t j = 0; j < first.depth; ++j) s.step()[j] = way.to[a.members[j]] - way.from[a.members[j]];
      int64_t t = 1;
      do {
        const int64_t left = a.players - t, room = s.tile_rows - rows, positions = left < room ? left : room;
        with_first_sink(net, s,
                        [&](const auto& sink) { walk(a, first, s, way.order + (t - 1), positions, rows, sink); });
        s.parts()[parts++] = {pair, t, t + positions, reverse != 0};
        rows += positions;
        t += positions;
        if (rows == s.tile_rows || parts == s.tile_rows) finish();
      } while (t < a.players);
    }
  }
  finish();
}

}  // namespace RF_ISA
}  // namespace reluxfast
