// Shapley permutation chains of a multilayer perceptron: what a call is given and where its results go.
#pragma once

#include "common/macros.h"
#include "common/mlp_layers.h"

namespace reluxfast {

template <class T>
struct MlpChains : MlpLayers<T> {
  const T* x;                   // [rows, features]
  const T* background;          // [background_rows, features]
  const int32_t* cycle;         // [rows, pairs]: the row of background that each pair uses
  const int32_t* permutations;  // [rows, pairs, players]
  const int32_t* members;       // [features]: features sorted by player
  const int32_t* starts;        // [players + 1]: where each player's features begin in members
  T* marginals;                 // [rows, pairs, players, outputs]
  T* fx;                        // [rows, outputs]
  T* fb;                        // [background_rows, outputs]
  int64_t rows, background_rows, pairs, players;
  bool antithetic;
  bool allow_tf32;  // behind the first layer of chains, where there are tensor cores

  RF_INLINE int64_t features() const { return this->widths[0]; }
};

}  // namespace reluxfast
