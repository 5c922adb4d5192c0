// Rows that take each element from one of two arrays, by the rank of its player.
#pragma once

#include <cstdint>

#include "common/dtypes.h"

namespace reluxfast {

// Numbers of a job, in this order.
enum JobField { kRow, kBase, kOrder, kBelow, kJobFields };

// T: float where S is a half type; else S too, and an integer of the elements' size, for bits that are moved.
template <class T, class S>
struct WriteCoalitions {
  const T* x;             // [rows, d]
  const T* background;    // [bases, d]
  S* out;                 // [count, d]
  const int32_t* labels;  // [d]: the player of each element, below `players`
  const int32_t* ranks;   // [orders, players]
  const int32_t* jobs;    // [count, kJobFields]
  int64_t rows, bases, orders;
  int64_t count, d, players;
};

}  // namespace reluxfast
