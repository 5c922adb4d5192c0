// Random orders of rows and units: what a call is given and where its result goes.
#pragma once

#include <cstdint>

namespace reluxfast {

struct DrawOrders {
  const int64_t* rows;  // [row_count], below 2^32
  int32_t* orders;      // [row_count, count, n]
  uint64_t key;
  uint32_t stream;
  int64_t row_count, first, count, n;
};

}  // namespace reluxfast
