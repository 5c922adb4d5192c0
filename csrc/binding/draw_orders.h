// draw_orders on tensors, for a device whose kernels are `Kernels`.
#pragma once

#include "binding/tensors.h"
#include "common/draw_orders.h"

namespace reluxfast {

// Numbers of rows, units and streams are words of a counter.
constexpr int64_t kWords = int64_t{1} << 32;

inline void check_draw_orders(const Tensor& rows, int64_t stream, int64_t first, int64_t count, int64_t n) {
  STD_TORCH_CHECK(rows.dim() == 1, "rows must have shape (R,), got ", text(sizes_of(rows)));
  STD_TORCH_CHECK(rows.scalar_type() == ScalarType::Long, "rows must be int64, got ", text(rows.scalar_type()),
                  "; convert it with .long()");
  STD_TORCH_CHECK(stream >= 0 && stream < kWords, "stream must lie between 0 and 2**32 - 1, got ", stream);
  STD_TORCH_CHECK(first >= 0 && first <= kWords, "first must lie between 0 and 2**32, got ", first);
  STD_TORCH_CHECK(count >= 0 && count <= kWords - first,
                  "count must lie between 0 and 2**32 - first = ", kWords - first, ", got ", count);
  STD_TORCH_CHECK(n >= 0 && n < int64_t{1} << 31, "n must lie between 0 and 2**31 - 1, got ", n);
}

template <class Kernels>
Tensor draw_orders(const Tensor& rows, int64_t seed, int64_t stream, int64_t first, int64_t count, int64_t n) {
  check_draw_orders(rows, stream, first, count, n);
  const Tensor orders = torch::stable::new_empty(rows, {rows.size(0), count, n}, ScalarType::Int);
  // A copy must outlive the call.
  const Tensor held = in_order(rows, false);
  DrawOrders a{};
  a.rows = static_cast<const int64_t*>(held.const_data_ptr());
  a.orders = static_cast<int32_t*>(orders.mutable_data_ptr());
  a.key = static_cast<uint64_t>(seed);
  a.stream = static_cast<uint32_t>(stream);
  a.row_count = rows.size(0);
  a.first = first;
  a.count = count;
  a.n = n;
  Kernels::run(a, rows);
  return orders;
}

}  // namespace reluxfast
