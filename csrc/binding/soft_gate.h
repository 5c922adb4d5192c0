// soft_gate and soft_gate_ on tensors, for a device whose kernels are `Kernels`.
#pragma once

#include "binding/tensors.h"
#include "common/soft_gate.h"

namespace reluxfast {

inline void check_soft_gate(const Tensor& g, const Tensor& q, const std::optional<Tensor>& skip) {
  check_dtype("g", g);
  if (skip) check_like("skip", *skip, "g", g);
  STD_TORCH_CHECK(q.scalar_type() == g.scalar_type() || q.scalar_type() == ScalarType::Byte,
                  "q must have the dtype of g, ", text(g.scalar_type()), ", or be uint8, got ", text(q.scalar_type()));
  check_device("q", q, "g", g);
  std::vector<int64_t> shape = sizes_of(g), rows = sizes_of(q);
  bool alike = shape.size() == rows.size();
  for (size_t k = 1; k < shape.size(); ++k) alike = alike && shape[k] == rows[k];
  STD_TORCH_CHECK(alike, "q must have g's shape but for the rows, ", text(shape), ", got ", text(rows));
  STD_TORCH_CHECK(g.numel() == 0 || (q.numel() > 0 && g.numel() % q.numel() == 0),
                  "q must have a number of rows that divides g's, ", shape[0], ", got ", rows[0]);
}

// g and out are dense in the same order; out may be g.
template <class Kernels>
void run_soft_gate(const Tensor& g, const Tensor& out, bool channels_last, const Tensor& q,
                   const std::optional<Tensor>& skip) {
  const int64_t numel = g.numel();
  if (numel == 0) return;
  const Tensor q_dense = in_order(q, channels_last);
  Tensor skip_dense;
  if (skip) skip_dense = in_order(*skip, channels_last);
  dispatch_dtype(g, [&](auto zero) {
    using Storage = decltype(zero);
    SoftGate<Storage> a{};
    a.g = static_cast<const Storage*>(g.const_data_ptr());
    a.out = static_cast<Storage*>(out.mutable_data_ptr());
    a.skip = skip ? static_cast<const Storage*>(skip_dense.const_data_ptr()) : nullptr;
    if (q.scalar_type() == ScalarType::Byte) {
      a.bytes = static_cast<const uint8_t*>(q_dense.const_data_ptr());
    } else {
      a.q = static_cast<const Storage*>(q_dense.const_data_ptr());
    }
    a.period = q.numel();
    a.repeats = numel / a.period;
    Kernels::run(a, g);
  });
}

template <class Kernels>
Tensor soft_gate(const Tensor& g, const Tensor& q, std::optional<Tensor> skip) {
  check_soft_gate(g, q, skip);
  const Dense in = dense(g);
  const Tensor out = empty_in_order(g, sizes_of(g), in.channels_last);
  run_soft_gate<Kernels>(in.tensor, out, in.channels_last, q, skip);
  return out;
}

template <class Kernels>
void soft_gate_(const Tensor& g, const Tensor& q, std::optional<Tensor> skip) {
  check_soft_gate(g, q, skip);
  check_dense("g", g);
  run_soft_gate<Kernels>(g, g, is_channels_last(g), q, skip);
}

}  // namespace reluxfast
