// The loops of mlp_outer_sums.h for one instruction set.

#include "cpu/mlp_evaluate.h"

namespace reluxfast {
namespace RF_ISA {

// Sums of `state` and `rows` rows of `low`, into rows of the sink from `row` on.
template <int kRegisters, class A, class Sink>
void sum_columns(const A* state, const A* low, int64_t pitch, int64_t rows, int64_t row, int64_t column,
                 const Sink& sink) {
  using V = Vec<A>;
  V high[kRegisters];
  for (int v = 0; v < kRegisters; ++v) high[v] = load(state + column + v * V::width);
  for (int64_t q = 0; q < rows; ++q) {
    V sum[kRegisters];
    for (int v = 0; v < kRegisters; ++v) sum[v] = high[v] + load(low + q * pitch + column + v * V::width);
    sink.template operator()<kRegisters>(row + q, column, sum);
  }
}

template <class A>
void mlp_sum_rows(const MlpOuterSums<A>& a, const MlpNetwork<A>& net, MlpScratch<A>& s, const A* low, int64_t begin,
                  int64_t end) {
  const int64_t depth = a.widths[0], columns = net.layer[0].columns;
  constexpr int kRegisters = 4, kColumns = kRegisters * Vec<A>::width;
  for (int64_t start = begin; start < end;) {
    const int64_t rows = end - start < s.tile_rows ? end - start : s.tile_rows;
    clear_dots(net, s);
    // Rows of a tile that share a row of `high` are made together.
    for (int64_t row = 0, with = 0; row < rows; row += with) {
      const int64_t high = (start + row) / a.lows, first = (start + row) % a.lows;
      with = a.lows - first < rows - row ? a.lows - first : rows - row;
      memcpy(s.state(), a.high + high * depth, depth * sizeof(A));
      const A* from = low + (high / a.highs * a.lows + first) * columns;
      with_first_sink(net, s, [&](const auto& sink) {
        int64_t column = 0;
        for (; column + kColumns <= columns; column += kColumns) {
          sum_columns<kRegisters>(s.state(), from, columns, with, row, column, sink);
        }
        for (; column < columns; column += Vec<A>::width) {
          sum_columns<1>(s.state(), from, columns, with, row, column, sink);
        }
      });
    }
    evaluate(net, s, rows);
    for (int64_t row = 0; row < rows; ++row) {
      memcpy(a.y + (start + row) * net.outputs, s.y() + row * s.y_stride, net.outputs * sizeof(A));
    }
    start += rows;
  }
}

}  // namespace RF_ISA
}  // namespace reluxfast
