// Bias, residual, clamp and bit-pack over a dense array in memory order.
#pragma once

#include <cstdint>

#include "common/bits.h"
#include "common/dtypes.h"

namespace reluxfast {

template <class T>
struct ReluPack {
  const T* x;         // [numel]
  T* y;               // [numel], may be x
  const T* residual;  // [numel] in x's order, or null
  uint8_t* mask;      // [packed_bytes(numel, 1)], or null
  const T* bias;      // [channels], or null
  int64_t numel;
  int64_t channels;  // element i has channel i / inner % channels
  int64_t inner;
  Accumulation<T> lo, hi;
};

}  // namespace reluxfast
