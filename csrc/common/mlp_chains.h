// Shapley permutation chains of a multilayer perceptron: what a call is given and where its results go.
#pragma once

#include <cstdint>

#include "common/macros.h"

namespace reluxfast {

// Weights that a network may have, the last one's included.
constexpr int kMostLayers = 6;

template <class T>
struct MlpChains {
  const T* x;                     // [rows, features]
  const T* background;            // [background_rows, features]
  const int32_t* cycle;           // [rows, pairs]: the row of background that each pair uses
  const int32_t* permutations;    // [rows, pairs, players]
  const int32_t* members;         // [features]: features sorted by player
  const int32_t* starts;          // [players + 1]: where each player's features begin in members
  const T* weights[kMostLayers];  // [widths[l + 1], widths[l]]
  const T* biases[kMostLayers];   // [widths[l + 1]]
  int64_t widths[kMostLayers + 1];
  T* marginals;  // [rows, pairs, players, outputs]
  T* fx;         // [rows, outputs]
  T* fb;         // [background_rows, outputs]
  int64_t rows, background_rows, pairs, players;
  int layers;
  bool antithetic;
  bool allow_tf32;  // behind the first layer of chains, where there are tensor cores

  RF_INLINE int64_t features() const { return widths[0]; }
  RF_INLINE int64_t outputs() const { return widths[layers]; }
};

}  // namespace reluxfast
