// gate and gate_ on tensors, for a device whose kernels are `Kernels`.
#pragma once

#include "binding/tensors.h"
#include "common/gate.h"

namespace reluxfast {

inline void check_mask(const std::optional<Tensor>& mask, const Tensor& g, int64_t mode, int64_t period) {
  if ((mode & 1) == 0) return;
  STD_TORCH_CHECK(mask.has_value(), "mask must be given for mode ", mode, ", got None; only modes 0 and 2 do without");
  check_packed("mask", *mask, g, packed_bytes(period, 1));
}

inline void check_gate(const Tensor& g, const std::optional<Tensor>& mask, const std::optional<Tensor>& skip,
                       int64_t mode, int64_t period) {
  check_dtype("g", g);
  check_mode(mode);
  check_period(g, period);
  if (skip) check_like("skip", *skip, "g", g);
  check_mask(mask, g, mode, period);
}

// g and out are dense in the same order; out may be g.
template <class Kernels>
void run_gate(const Tensor& g, const Tensor& out, bool channels_last, const std::optional<Tensor>& mask,
              const std::optional<Tensor>& skip, int64_t mode, int64_t period) {
  const int64_t numel = g.numel();
  if (numel == 0) return;
  Tensor skip_dense;
  if (skip) skip_dense = in_order(*skip, channels_last);
  dispatch_dtype(g, [&](auto zero) {
    using Storage = decltype(zero);
    Gate<Storage> a;
    a.g = static_cast<const Storage*>(g.const_data_ptr());
    a.out = static_cast<Storage*>(out.mutable_data_ptr());
    a.skip = skip ? static_cast<const Storage*>(skip_dense.const_data_ptr()) : nullptr;
    a.mask = mode & 1 ? static_cast<const uint8_t*>(mask->const_data_ptr()) : nullptr;
    a.mode = static_cast<int>(mode);
    // Without a mask there is nothing to repeat, and one long run has the fewest partial words.
    a.period = mode & 1 ? period : numel;
    a.repeats = numel / a.period;
    Kernels::run(a, g);
  });
}

template <class Kernels>
Tensor gate(const Tensor& g, std::optional<Tensor> mask, std::optional<Tensor> skip, int64_t mode, int64_t period) {
  check_gate(g, mask, skip, mode, period);
  const Dense in = dense(g);
  const Tensor out = empty_in_order(g, sizes_of(g), in.channels_last);
  run_gate<Kernels>(in.tensor, out, in.channels_last, mask, skip, mode, period);
  return out;
}

template <class Kernels>
void gate_(const Tensor& g, std::optional<Tensor> mask, std::optional<Tensor> skip, int64_t mode, int64_t period) {
  check_gate(g, mask, skip, mode, period);
  check_dense("g", g);
  run_gate<Kernels>(g, g, is_channels_last(g), mask, skip, mode, period);
}

}  // namespace reluxfast
