// Skip-add and multiplication by a gate over a dense array in memory order.
#pragma once

#include <cstdint>

#include "common/bits.h"
#include "common/dtypes.h"

namespace reluxfast {

// What a quantised gate counts in: 1 / 255, rounded.
template <class A>
constexpr A kByteUnit = static_cast<A>(1.0 / 255);

template <class T>
struct SoftGate {
  const T* g;            // [repeats, period]
  T* out;                // [repeats, period], may be g
  const T* skip;         // [repeats, period] in g's order, or null
  const T* q;            // [period] in g's order, or null
  const uint8_t* bytes;  // [period]: a quantised gate, read in q's place
  int64_t repeats;
  int64_t period;

  // Words of 32 elements; each repeat begins a new one.
  RF_INLINE int64_t words_per_repeat() const { return (period + kWord - 1) / kWord; }
};

}  // namespace reluxfast
