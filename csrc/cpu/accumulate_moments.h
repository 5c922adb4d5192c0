// The CPU loops of accumulate_moments_.
#pragma once

#include <cstdint>

#include "common/accumulate_moments.h"

namespace reluxfast {

// Elements of a row that are worked on at once: their mean and m2 stay in the first-level cache.
constexpr int64_t kMomentBlock = 256;

template <class T>
int64_t moment_blocks(const AccumulateMoments<T>& a) {
  return a.row_count * ((a.size + kMomentBlock - 1) / kMomentBlock);
}

// Blocks begin .. end - 1 of the moment_blocks there are, each of one row; counts are left as they are.
template <class T>
void accumulate_moments_blocks(const AccumulateMoments<T>& a, int64_t begin, int64_t end);

}  // namespace reluxfast
