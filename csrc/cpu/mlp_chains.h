// The CPU loops of mlp_chains.
#pragma once

#include <cstdint>
#include <vector>

#include "common/mlp_chains.h"
#include "cpu/mlp_scratch.h"

namespace reluxfast {

// The part of one chain that lies in a tile: its positions first .. end - 1, and its end where end is players.
struct ChainPart {
  int64_t pair, first, end;
  bool reverse;
};

// What one thread walks chains in; a row of a tile is a position.
template <class T>
class ChainScratch : public MlpScratch<T> {
 public:
  ChainScratch(const MlpNetwork<T>& net, int64_t rows)
      : MlpScratch<T>(net, rows),
        features_(kTileStep * net.layer[0].depth),
        step_(net.layer[0].depth),
        before_(net.outputs),
        parts_(rows) {}

  T* features() const { return features_.data(); }  // [kTileStep, depth of the first layer]
  T* step() const { return step_.data(); }          // [features]: what each feature changes by
  T* before() const { return before_.data(); }      // [outputs]: the chain's last value
  ChainPart* parts() { return parts_.data(); }      // [tile_rows]

 private:
  AlignedArray<T> features_, step_, before_;
  std::vector<ChainPart> parts_;
};

// f of rows begin .. end - 1 of `inputs`, [.., features], into `f`, [.., outputs], and their pre-activations in the
// first layer into `z`, [.., its columns].
template <class T>
void mlp_direct(const MlpChains<T>& a, const MlpNetwork<T>& net, ChainScratch<T>& scratch, const T* inputs, T* z, T* f,
                int64_t begin, int64_t end);

// The chains of pairs begin .. end - 1 of the rows * pairs there are; z_x and z_b are those of mlp_direct.
template <class T>
void mlp_chain_pairs(const MlpChains<T>& a, const MlpNetwork<T>& net, ChainScratch<T>& scratch, const T* z_x,
                     const T* z_b, int64_t begin, int64_t end);

}  // namespace reluxfast
