// soft_gate_pack and soft_gate_pack_ on tensors, for a device whose kernels are `Kernels`.
#pragma once

#include <tuple>

#include "binding/tensors.h"
#include "common/soft_gate_pack.h"

namespace reluxfast {

// What a call is given beside z.
struct SoftGateOperands {
  std::optional<Tensor> d, bias, d_bias, residual;
  std::vector<double> factors;
  std::vector<int64_t> branches;
  double epsilon, lo, hi;
  int64_t numerator;

  int gates() const { return static_cast<int>(branches.size()); }
};

// Of z's dtype or bytes, both alike; the second for two branches only.
struct Gates {
  Tensor first;
  std::optional<Tensor> second;
};

inline void check_soft_gate_pack(const Tensor& z, const SoftGateOperands& o) {
  check_dtype("z", z);
  if (o.d) check_like("d", *o.d, "z", z);
  if (o.residual) check_like("residual", *o.residual, "z", z);
  if (o.bias) check_bias("bias", *o.bias, "z", z);
  if (o.d_bias) check_bias("d_bias", *o.d_bias, "z", z);
  STD_TORCH_CHECK(o.d || !o.d_bias, "d_bias must be None without d, got a tensor");
  bool known = o.branches.size() == 1 || o.branches.size() == 2;
  for (const int64_t branch : o.branches) known = known && branch >= 0 && branch <= 2;
  STD_TORCH_CHECK(known, "branches must be one or two of 0 (all), 1 (y > 0), 2 (y < 0), got ", text(o.branches));
  STD_TORCH_CHECK(o.factors.size() == 2 * o.branches.size(), "factors must hold two numbers for each of ",
                  o.branches.size(), " gate(s), got ", o.factors.size());
  STD_TORCH_CHECK(o.epsilon >= 0, "epsilon must not be negative, got ", o.epsilon);
  STD_TORCH_CHECK(o.numerator >= 0 && o.numerator <= 2,
                  "numerator must be 0 (v), 1 (one) or 2 (one where v is not 0), got ", o.numerator);
}

inline void check_gate_tensor(const char* name, const Tensor& gate, const Tensor& z, ScalarType type) {
  STD_TORCH_CHECK(gate.scalar_type() == type && gate.device() == z.device(), name, " must be ", text(type), " on ",
                  text(z.device()), " as z and q are, got ", text(gate.scalar_type()), " on ", text(gate.device()));
  const bool channels_last = is_channels_last(gate);
  STD_TORCH_CHECK(
      sizes_of(gate) == sizes_of(z) && (channels_last || gate.is_contiguous()) && channels_last == is_channels_last(z),
      name, " must have z's shape and dense order, ", text(sizes_of(z)), " with strides ", text(strides_of(z)),
      ", got ", text(sizes_of(gate)), " with strides ", text(strides_of(gate)));
}

inline void check_gates(const Gates& gates, const Tensor& z, const SoftGateOperands& o) {
  STD_TORCH_CHECK(gates.second.has_value() == (o.gates() == 2),
                  "second must be given for two branches and only then, got ", o.gates(), " branch(es)");
  const ScalarType type = gates.first.scalar_type();
  STD_TORCH_CHECK(type == z.scalar_type() || type == ScalarType::Byte, "q must have z's dtype, ", text(z.scalar_type()),
                  ", or be uint8, got ", text(type));
  check_gate_tensor("q", gates.first, z, type);
  if (gates.second) check_gate_tensor("second", *gates.second, z, type);
}

// z, v and the gates are dense in the same order; v may be z.
template <class Kernels>
void run_soft_gate_pack(const Tensor& z, const Tensor& v, const Gates& gates, bool channels_last,
                        const SoftGateOperands& o) {
  const int64_t numel = z.numel();
  if (numel == 0) return;
  std::optional<Tensor> d, residual, bias, d_bias;
  if (o.d) d = in_order(*o.d, channels_last);
  if (o.residual) residual = in_order(*o.residual, channels_last);
  if (o.bias) bias = torch::stable::contiguous(*o.bias);
  if (o.d_bias) d_bias = torch::stable::contiguous(*o.d_bias);
  dispatch_dtype(z, [&](auto zero) {
    using Storage = decltype(zero);
    using A = Accumulation<Storage>;
    const auto data = [](const std::optional<Tensor>& x) {
      return x ? static_cast<const Storage*>(x->const_data_ptr()) : nullptr;
    };
    SoftGatePack<Storage> a{};
    a.z = static_cast<const Storage*>(z.const_data_ptr());
    a.d = data(d);
    a.residual = data(residual);
    a.bias = data(bias);
    a.d_bias = data(d_bias);
    a.numel = numel;
    a.channels = bias || d_bias ? z.size(1) : 1;
    a.inner = a.channels == 1 || channels_last ? 1 : numel / (z.size(0) * z.size(1));
    a.lo = static_cast<A>(o.lo);
    a.hi = static_cast<A>(o.hi);
    a.epsilon = static_cast<A>(o.epsilon);
    a.gates = o.gates();
    a.numerator = static_cast<int>(o.numerator);
    for (int k = 0; k < a.gates; ++k) {
      const Tensor& gate = k == 0 ? gates.first : *gates.second;
      if (gate.scalar_type() == ScalarType::Byte) {
        a.bytes[k] = static_cast<uint8_t*>(gate.mutable_data_ptr());
      } else {
        a.q[k] = static_cast<Storage*>(gate.mutable_data_ptr());
      }
      a.f[k] = static_cast<A>(o.factors[2 * k]);
      a.f_d[k] = static_cast<A>(o.factors[2 * k + 1]);
      a.branch[k] = static_cast<int>(o.branches[k]);
    }
    a.v = static_cast<Storage*>(v.mutable_data_ptr());
    // z holds v already.
    if (a.v == a.z && !bias && !residual && a.lo == -kInfinity<A> && a.hi == kInfinity<A>) a.v = nullptr;
    Kernels::run(a, z);
  });
}

template <class Kernels>
std::tuple<Tensor, Tensor, Tensor> soft_gate_pack(const Tensor& z, std::optional<Tensor> d, std::optional<Tensor> bias,
                                                  std::optional<Tensor> d_bias, std::optional<Tensor> residual,
                                                  std::vector<double> factors, std::vector<int64_t> branches,
                                                  double epsilon, double lo, double hi, int64_t numerator,
                                                  bool quantise) {
  const SoftGateOperands o{d, bias, d_bias, residual, factors, branches, epsilon, lo, hi, numerator};
  check_soft_gate_pack(z, o);
  const Dense in = dense(z);
  const Tensor v = empty_in_order(z, sizes_of(z), in.channels_last);
  const ScalarType type = quantise ? ScalarType::Byte : z.scalar_type();
  const auto made = [&] { return empty_in_order(z, sizes_of(z), in.channels_last, type); };
  Gates gates{made(), std::nullopt};
  if (o.gates() == 2) gates.second = made();
  run_soft_gate_pack<Kernels>(in.tensor, v, gates, in.channels_last, o);
  return {v, gates.first, gates.second ? *gates.second : torch::stable::new_empty(z, {0}, type)};
}

template <class Kernels>
void soft_gate_pack_(const Tensor& z, const Tensor& q, std::optional<Tensor> second, std::optional<Tensor> d,
                     std::optional<Tensor> bias, std::optional<Tensor> d_bias, std::optional<Tensor> residual,
                     std::vector<double> factors, std::vector<int64_t> branches, double epsilon, double lo, double hi,
                     int64_t numerator) {
  const SoftGateOperands o{d, bias, d_bias, residual, factors, branches, epsilon, lo, hi, numerator};
  check_soft_gate_pack(z, o);
  check_dense("z", z);
  const Gates gates{q, second};
  check_gates(gates, z, o);
  run_soft_gate_pack<Kernels>(z, z, gates, is_channels_last(z), o);
}

}  // namespace reluxfast
