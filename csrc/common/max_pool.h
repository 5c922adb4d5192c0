// Max-pooling with packed winners, and its reverse written as a gather.
#pragma once

#include <cstdint>

#include "common/bits.h"
#include "common/dtypes.h"
#include "common/window.h"

namespace reluxfast {

template <class T>
struct PoolPack {
  const T* x;       // [images, in_positions, channels]
  T* y;             // [images, out_positions, channels]
  uint8_t* winner;  // [packed_bytes(numel of y, width)], or null
  uint8_t* mask;    // [packed_bytes(numel of y, 1)], or null
  Pool pool;
  int width;  // bits of a winner
  bool relu;

  RF_INLINE int64_t numel_in() const { return pool.images * pool.in_positions() * pool.channels; }
  RF_INLINE int64_t numel_out() const { return pool.images * pool.out_positions() * pool.channels; }
};

template <class T>
struct PoolScatter {
  const T* g;             // [images, out_positions, channels]
  const uint8_t* winner;  // [packed_bytes(period, width)]
  const uint8_t* mask;    // [packed_bytes(period, 1)], or null
  T* out;                 // [images, in_positions, channels]
  Pool pool;
  int64_t period_images;  // images that winner and mask cover
  int width;              // bits of a winner
  bool positive;          // keep only positive sums

  RF_INLINE int64_t rows() const { return pool.images * pool.depth.size * pool.height.size; }
  RF_INLINE int64_t period() const { return period_images * pool.out_positions() * pool.channels; }
};

}  // namespace reluxfast
