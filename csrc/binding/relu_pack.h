// relu_pack and relu_pack_ on tensors, for a device whose kernels are `Kernels`.
#pragma once

#include <tuple>

#include "binding/tensors.h"
#include "common/relu_pack.h"

namespace reluxfast {

inline void check_relu_pack(const Tensor& x, const std::optional<Tensor>& bias, const std::optional<Tensor>& residual) {
  check_dtype("x", x);
  if (bias) check_bias("bias", *bias, "x", x);
  if (residual) check_like("residual", *residual, "x", x);
}

// The mask. x and y are dense in the same order; y may be x.
template <class Kernels>
Tensor run_relu_pack(const Tensor& x, const Tensor& y, bool channels_last, const std::optional<Tensor>& bias,
                     const std::optional<Tensor>& residual, double lo, double hi, bool pack) {
  const int64_t numel = x.numel();
  const Tensor mask = empty_bytes(x, pack ? packed_bytes(numel, 1) : 0);
  if (numel == 0) return mask;
  Tensor residual_dense, bias_dense;
  if (residual) residual_dense = in_order(*residual, channels_last);
  if (bias) bias_dense = torch::stable::contiguous(*bias);
  dispatch_dtype(x, [&](auto zero) {
    using Storage = decltype(zero);
    ReluPack<Storage> a;
    a.x = static_cast<const Storage*>(x.const_data_ptr());
    a.y = static_cast<Storage*>(y.mutable_data_ptr());
    a.residual = residual ? static_cast<const Storage*>(residual_dense.const_data_ptr()) : nullptr;
    a.mask = pack ? static_cast<uint8_t*>(mask.mutable_data_ptr()) : nullptr;
    a.bias = bias ? static_cast<const Storage*>(bias_dense.const_data_ptr()) : nullptr;
    a.numel = numel;
    a.channels = bias ? x.size(1) : 1;
    a.inner = !bias || channels_last ? 1 : numel / (x.size(0) * x.size(1));
    a.lo = static_cast<Accumulation<Storage>>(lo);
    a.hi = static_cast<Accumulation<Storage>>(hi);
    Kernels::run(a, x);
  });
  return mask;
}

template <class Kernels>
std::tuple<Tensor, Tensor> relu_pack(const Tensor& x, std::optional<Tensor> bias, std::optional<Tensor> residual,
                                     double lo, double hi, bool pack) {
  check_relu_pack(x, bias, residual);
  const Dense in = dense(x);
  const Tensor y = empty_in_order(x, sizes_of(x), in.channels_last);
  const Tensor mask = run_relu_pack<Kernels>(in.tensor, y, in.channels_last, bias, residual, lo, hi, pack);
  return {y, mask};
}

template <class Kernels>
Tensor relu_pack_(const Tensor& x, std::optional<Tensor> bias, std::optional<Tensor> residual, double lo, double hi,
                  bool pack) {
  check_relu_pack(x, bias, residual);
  check_dense("x", x);
  return run_relu_pack<Kernels>(x, x, is_channels_last(x), bias, residual, lo, hi, pack);
}

}  // namespace reluxfast
