// A multilayer perceptron behind its first layer, whose values are all sums of a row of one table and one of another.
#pragma once

#include "common/mlp_layers.h"

namespace reluxfast {

template <class T>
struct MlpOuterSums : MlpLayers<T> {
  const T* high;  // [groups, highs, widths[0]]
  const T* low;   // [groups, lows, widths[0]]
  T* y;           // [groups, highs, lows, outputs]
  int64_t groups, highs, lows;

  int64_t rows() const { return groups * highs * lows; }
};

}  // namespace reluxfast
