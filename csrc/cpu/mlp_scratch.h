// What a thread works in while it evaluates a multilayer perceptron.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/aligned_array.h"
#include "cpu/mlp_network.h"

namespace reluxfast {

// A multiple of every number of rows that the loops multiply at once.
constexpr int64_t kTileStep = 24;

// A tile is a few rows of activations that stay in the cache.
template <class T>
class MlpScratch {
 public:
  MlpScratch(const MlpNetwork<T>& net, int64_t rows)
      : tile_rows(rows),
        stride(widest(net)),
        y_stride(whole_lines<T>(net.outputs)),
        tiles_(2 * rows * stride),
        y_(rows * y_stride),
        state_(net.layer[0].columns) {}

  const int64_t tile_rows, stride, y_stride;
  T* tile(int which) const { return tiles_.data() + which * tile_rows * stride; }  // [tile_rows, stride], two of them
  T* y() const { return y_.data(); }                                               // [tile_rows, y_stride]
  T* state() const { return state_.data(); }  // [columns of the first layer]: pre-activations that rows begin with

  // Rows whose activations fill half of a usual second-level cache: it holds weights as well.
  static int64_t rows_for(const MlpNetwork<T>& net) {
    constexpr int64_t kBytes = 256 << 10, kMostRows = 240;
    const int64_t rows = kBytes / (2 * widest(net) * static_cast<int64_t>(sizeof(T)));
    return std::clamp(rows, kTileStep, kMostRows) / kTileStep * kTileStep;
  }

 private:
  static int64_t widest(const MlpNetwork<T>& net) {
    int64_t most = 0;
    for (int l = 0; l < net.layers; ++l) most = std::max(most, net.layer[l].columns);
    // An odd number of lines: rows of a tile then lie in different sets of the cache.
    return most + (most / kLine<T> % 2 ? 0 : kLine<T>);
  }

  AlignedArray<T> tiles_, y_, state_;
};

}  // namespace reluxfast
