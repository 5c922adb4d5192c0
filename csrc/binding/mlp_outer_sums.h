// mlp_outer_sums on tensors, for a device whose kernels are `Kernels`.
#pragma once

#include "binding/mlp_layers.h"
#include "common/mlp_outer_sums.h"

namespace reluxfast {

inline void check_mlp_outer_sums(const Tensor& high, const Tensor& low, const std::vector<Tensor>& weights,
                                 const std::vector<Tensor>& biases) {
  const ScalarType type = high.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double, "high must be float32 or float64, got ",
                  text(type), "; convert it with .float()");
  STD_TORCH_CHECK(high.dim() == 3 && high.size(2) > 0, "high must have shape (M, P, H), H at least 1, got ",
                  text(sizes_of(high)));
  check_mlp_number("low", low, "high", high);
  STD_TORCH_CHECK(low.dim() == 3 && low.size(0) == high.size(0) && low.size(2) == high.size(2),
                  "low must have shape (M, Q, H), M and H those of high, ", high.size(0), " and ", high.size(2),
                  ", got ", text(sizes_of(low)));
  check_mlp_layers(weights, biases, kMostLayers - 1, "high", high);
}

template <class Kernels>
Tensor mlp_outer_sums(const Tensor& high, const Tensor& low, std::vector<Tensor> weights, std::vector<Tensor> biases) {
  check_mlp_outer_sums(high, low, weights, biases);
  const Tensor y = torch::stable::new_empty(high, {high.size(0), high.size(1), low.size(1), weights.back().size(0)});
  Contiguous held;
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    MlpOuterSums<T> a{};
    a.high = held.of<T>(high);
    a.low = held.of<T>(low);
    set_mlp_layers(a, weights, biases, held);
    a.y = static_cast<T*>(y.mutable_data_ptr());
    a.groups = high.size(0);
    a.highs = high.size(1);
    a.lows = low.size(1);
    if (a.rows() > 0) Kernels::run(a, high);
  };
  high.scalar_type() == ScalarType::Float ? run(float{}) : run(double{});
  return y;
}

}  // namespace reluxfast
