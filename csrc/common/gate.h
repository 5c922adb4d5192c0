// Skip-add and gate over a dense array in memory order.
#pragma once

#include <cstdint>

#include "common/bits.h"
#include "common/dtypes.h"

namespace reluxfast {

template <class T>
struct Gate {
  const T* g;           // [repeats, period]
  T* out;               // [repeats, period], may be g
  const T* skip;        // [repeats, period] in g's order, or null
  const uint8_t* mask;  // [packed_bytes(period, 1)]; read where mode & 1
  int64_t repeats;
  int64_t period;
  int mode;  // bit 0: keep by the mask, bit 1: keep where the sum is positive

  // Words of 32 elements; each repeat begins a new one.
  RF_INLINE int64_t words_per_repeat() const { return (period + kWord - 1) / kWord; }
};

}  // namespace reluxfast
