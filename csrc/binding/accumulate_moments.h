// accumulate_moments_ on tensors, for a device whose kernels are `Kernels`.
#pragma once

#include "binding/tensors.h"
#include "common/accumulate_moments.h"

namespace reluxfast {

inline void check_moment_type(const char* name, const Tensor& value, ScalarType type, const char* remedy,
                              const Tensor& units) {
  // What stands behind "torch.".
  STD_TORCH_CHECK(value.scalar_type() == type, name, " must be ", text(type).substr(6), ", got ",
                  text(value.scalar_type()), "; ", remedy);
  check_device(name, value, "units", units);
}

inline void check_moment_layout(const char* name, const Tensor& value, const char* remedy) {
  STD_TORCH_CHECK(value.is_contiguous(), name, " must be contiguous to be changed in place, got shape ",
                  text(sizes_of(value)), " with strides ", text(strides_of(value)), "; ", remedy);
}

inline void check_accumulate_moments(const Tensor& count, const Tensor& mean, const Tensor& m2, const Tensor& rows,
                                     const Tensor& units) {
  STD_TORCH_CHECK(units.dim() == 4, "units must have shape (R, G, n, K), got ", text(sizes_of(units)));
  const ScalarType type = units.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double, "units must be float32 or float64, got ",
                  text(type), "; convert it with .double()");
  STD_TORCH_CHECK(count.dim() == 1, "count must have shape (N,), got ", text(sizes_of(count)));
  const std::vector<int64_t> state{count.size(0), units.size(2), units.size(3)};
  for (const auto& [name, value] : {std::pair{"mean", &mean}, std::pair{"m2", &m2}}) {
    STD_TORCH_CHECK(sizes_of(*value) == state, name, " must have shape (N, n, K) with count's N and units' n and K, ",
                    text(state), ", got ", text(sizes_of(*value)));
  }
  STD_TORCH_CHECK(rows.dim() == 1 && rows.size(0) == units.size(0), "rows must have shape (R,) with units' R, ",
                  text({units.size(0)}), ", got ", text(sizes_of(rows)));
  constexpr const char *whole = "make it with torch.zeros(..., dtype=torch.int64)",
                       *wide = "make it with torch.zeros(..., dtype=torch.float64)";
  check_moment_type("count", count, ScalarType::Long, whole, units);
  check_moment_type("mean", mean, ScalarType::Double, wide, units);
  check_moment_type("m2", m2, ScalarType::Double, wide, units);
  check_moment_type("rows", rows, ScalarType::Long, "convert it with .long()", units);
  check_moment_layout("count", count, whole);
  check_moment_layout("mean", mean, wide);
  check_moment_layout("m2", m2, wide);
}

template <class Kernels>
void accumulate_moments_(const Tensor& count, const Tensor& mean, const Tensor& m2, const Tensor& rows,
                         const Tensor& units) {
  check_accumulate_moments(count, mean, m2, rows, units);
  // Copies must outlive the call.
  const Tensor held_rows = in_order(rows, false), held_units = in_order(units, false);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    AccumulateMoments<T> a{};
    a.count = static_cast<int64_t*>(count.mutable_data_ptr());
    a.mean = static_cast<double*>(mean.mutable_data_ptr());
    a.m2 = static_cast<double*>(m2.mutable_data_ptr());
    a.rows = static_cast<const int64_t*>(held_rows.const_data_ptr());
    a.units = static_cast<const T*>(held_units.const_data_ptr());
    a.state_rows = count.size(0);
    a.row_count = units.size(0);
    a.unit_count = units.size(1);
    a.size = units.size(2) * units.size(3);
    Kernels::run(a, units);
  };
  units.scalar_type() == ScalarType::Float ? run(float{}) : run(double{});
}

}  // namespace reluxfast
