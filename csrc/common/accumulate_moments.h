// Count, mean and squared deviations of vectors that are added one after the other: what a call is given.
#pragma once

#include <cstdint>

namespace reluxfast {

// T: float or double.
template <class T>
struct AccumulateMoments {
  int64_t* count;       // [state rows]
  double *mean, *m2;    // [state rows, size]
  const int64_t* rows;  // [row_count], distinct
  const T* units;       // [row_count, unit_count, size]
  int64_t state_rows, row_count, unit_count, size;
};

}  // namespace reluxfast
