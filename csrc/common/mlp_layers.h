// Layers of a multilayer perceptron, with a ReLU between each two.
#pragma once

#include <cstdint>

#include "common/macros.h"

namespace reluxfast {

// Weights that a network may have, the last one's included.
constexpr int kMostLayers = 6;

template <class T>
struct MlpLayers {
  const T* weights[kMostLayers];  // [widths[l + 1], widths[l]]
  const T* biases[kMostLayers];   // [widths[l + 1]]
  int64_t widths[kMostLayers + 1];
  int layers;

  RF_INLINE int64_t outputs() const { return widths[layers]; }
};

}  // namespace reluxfast
