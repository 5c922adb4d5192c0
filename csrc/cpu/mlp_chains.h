// The CPU loops of mlp_chains.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/mlp_chains.h"
#include "cpu/aligned_array.h"
#include "cpu/mlp_network.h"

namespace reluxfast {

// A multiple of every number of rows that the loops multiply at once.
constexpr int64_t kTileStep = 24;

// The part of one chain that lies in a tile: its positions first .. end - 1, and its end where end is players.
struct ChainPart {
  int64_t pair, first, end;
  bool reverse;
};

// What one thread works in. A tile is a few positions, one in each row, of activations that stay in the cache.
template <class T>
class MlpScratch {
 public:
  MlpScratch(const MlpNetwork<T>& net, int64_t rows)
      : tile_rows(rows),
        stride(widest(net)),
        y_stride(whole_lines<T>(net.outputs)),
        features_(kTileStep * net.layer[0].depth),
        tiles_(2 * rows * stride),
        y_(rows * y_stride),
        state_(net.layer[0].columns),
        step_(net.layer[0].depth),
        before_(net.outputs),
        parts_(rows) {}

  const int64_t tile_rows, stride, y_stride;
  T* features() const { return features_.data(); }  // [kTileStep, depth of the first layer]
  T* tile(int which) const { return tiles_.data() + which * tile_rows * stride; }  // [tile_rows, stride], two of them
  T* y() const { return y_.data(); }                                               // [tile_rows, y_stride]
  T* state() const { return state_.data(); }    // [columns of the first layer]: the chain's pre-activations
  T* step() const { return step_.data(); }      // [features]: what each feature changes by
  T* before() const { return before_.data(); }  // [outputs]: the chain's last value
  ChainPart* parts() { return parts_.data(); }  // [tile_rows]

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

  AlignedArray<T> features_, tiles_, y_, state_, step_, before_;
  std::vector<ChainPart> parts_;
};

// Columns of a layer's panels.
template <class T>
int64_t mlp_panel();

// f of rows begin .. end - 1 of `inputs`, [.., features], into `f`, [.., outputs], and their pre-activations in the
// first layer into `z`, [.., its columns].
template <class T>
void mlp_direct(const MlpChains<T>& a, const MlpNetwork<T>& net, MlpScratch<T>& scratch, const T* inputs, T* z, T* f,
                int64_t begin, int64_t end);

// The chains of pairs begin .. end - 1 of the rows * pairs there are; z_x and z_b are those of mlp_direct.
template <class T>
void mlp_chain_pairs(const MlpChains<T>& a, const MlpNetwork<T>& net, MlpScratch<T>& scratch, const T* z_x,
                     const T* z_b, int64_t begin, int64_t end);

}  // namespace reluxfast
