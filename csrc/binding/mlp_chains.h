// mlp_chains on tensors, for a device whose kernels are `Kernels`.
#pragma once

#include <tuple>

#include "binding/tensors.h"
#include "common/mlp_chains.h"

namespace reluxfast {

inline void check_mlp_index(const char* name, const Tensor& index, const Tensor& x) {
  STD_TORCH_CHECK(index.scalar_type() == ScalarType::Int, name, " must be int32, got ", text(index.scalar_type()),
                  "; convert it with .int()");
  check_device(name, index, "x", x);
}

inline void check_mlp_number(const std::string& name, const Tensor& value, const Tensor& x) {
  STD_TORCH_CHECK(value.scalar_type() == x.scalar_type(), name, " must have the dtype of x, ", text(x.scalar_type()),
                  ", got ", text(value.scalar_type()));
  check_device(name.c_str(), value, "x", x);
}

inline void check_mlp_chains(const Tensor& x, const Tensor& background, const Tensor& cycle, const Tensor& permutations,
                             const Tensor& members, const Tensor& starts, const std::vector<Tensor>& weights,
                             const std::vector<Tensor>& biases) {
  const ScalarType type = x.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double, "x must be float32 or float64, got ",
                  text(type), "; convert it with .float()");
  STD_TORCH_CHECK(x.dim() == 2 && x.size(1) > 0, "x must have shape (N, d), d at least 1, got ", text(sizes_of(x)));
  check_mlp_number("background", background, x);
  STD_TORCH_CHECK(background.dim() == 2 && background.size(0) > 0 && background.size(1) == x.size(1),
                  "background must have shape (B, d), B at least 1 and d that of x, ", x.size(1), ", got ",
                  text(sizes_of(background)));
  check_mlp_index("permutations", permutations, x);
  STD_TORCH_CHECK(permutations.dim() == 3 && permutations.size(0) == x.size(0) && permutations.size(2) > 0,
                  "permutations must have shape (N, G, n), N that of x, ", x.size(0), ", and n at least 1, got ",
                  text(sizes_of(permutations)));
  check_mlp_index("cycle", cycle, x);
  const std::vector<int64_t> pairs{permutations.size(0), permutations.size(1)};
  STD_TORCH_CHECK(sizes_of(cycle) == pairs, "cycle must have the shape (N, G) of permutations, ", text(pairs), ", got ",
                  text(sizes_of(cycle)));
  check_mlp_index("members", members, x);
  STD_TORCH_CHECK(members.dim() == 1 && members.size(0) == x.size(1), "members must have shape (d,), (", x.size(1),
                  ",), got ", text(sizes_of(members)));
  check_mlp_index("starts", starts, x);
  STD_TORCH_CHECK(starts.dim() == 1 && starts.size(0) == permutations.size(2) + 1, "starts must have shape (n + 1,), (",
                  permutations.size(2) + 1, ",), got ", text(sizes_of(starts)));
  STD_TORCH_CHECK(!weights.empty() && weights.size() <= kMostLayers, "weights must hold 1 to ", kMostLayers,
                  " tensors, got ", weights.size());
  STD_TORCH_CHECK(biases.size() == weights.size(), "biases must hold a tensor for each of the ", weights.size(),
                  " weights, got ", biases.size());
  int64_t width = x.size(1);
  for (size_t l = 0; l < weights.size(); ++l) {
    const std::string weight = "weights[" + std::to_string(l) + "]", bias = "biases[" + std::to_string(l) + "]";
    check_mlp_number(weight, weights[l], x);
    STD_TORCH_CHECK(weights[l].dim() == 2 && weights[l].size(0) > 0 && weights[l].size(1) == width, weight,
                    " must have shape (H, ", width, "), H at least 1, got ", text(sizes_of(weights[l])));
    width = weights[l].size(0);
    check_mlp_number(bias, biases[l], x);
    STD_TORCH_CHECK(biases[l].dim() == 1 && biases[l].size(0) == width, bias, " must have shape (", width, ",), got ",
                    text(sizes_of(biases[l])));
  }
}

template <class Kernels>
std::tuple<Tensor, Tensor, Tensor> mlp_chains(const Tensor& x, const Tensor& background, const Tensor& cycle,
                                              const Tensor& permutations, const Tensor& members, const Tensor& starts,
                                              std::vector<Tensor> weights, std::vector<Tensor> biases, bool antithetic,
                                              bool allow_tf32) {
  check_mlp_chains(x, background, cycle, permutations, members, starts, weights, biases);
  const int64_t rows = x.size(0), pairs = permutations.size(1), players = permutations.size(2);
  const int64_t background_rows = background.size(0), outputs = weights.back().size(0);
  const Tensor marginals = torch::stable::new_empty(x, {rows, pairs, players, outputs});
  const Tensor fx = torch::stable::new_empty(x, {rows, outputs});
  const Tensor fb = torch::stable::new_empty(x, {background_rows, outputs});
  // Copies must outlive the call.
  std::vector<Tensor> held;
  const auto contiguous = [&](const Tensor& tensor) {
    held.push_back(in_order(tensor, false));
    return held.back().const_data_ptr();
  };
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    MlpChains<T> a{};
    a.x = static_cast<const T*>(contiguous(x));
    a.background = static_cast<const T*>(contiguous(background));
    a.cycle = static_cast<const int32_t*>(contiguous(cycle));
    a.permutations = static_cast<const int32_t*>(contiguous(permutations));
    a.members = static_cast<const int32_t*>(contiguous(members));
    a.starts = static_cast<const int32_t*>(contiguous(starts));
    a.layers = static_cast<int>(weights.size());
    a.widths[0] = x.size(1);
    for (int l = 0; l < a.layers; ++l) {
      a.weights[l] = static_cast<const T*>(contiguous(weights[l]));
      a.biases[l] = static_cast<const T*>(contiguous(biases[l]));
      a.widths[l + 1] = weights[l].size(0);
    }
    a.marginals = static_cast<T*>(marginals.mutable_data_ptr());
    a.fx = static_cast<T*>(fx.mutable_data_ptr());
    a.fb = static_cast<T*>(fb.mutable_data_ptr());
    a.rows = rows;
    a.background_rows = background_rows;
    a.pairs = pairs;
    a.players = players;
    a.antithetic = antithetic;
    a.allow_tf32 = allow_tf32;
    Kernels::run(a, x);
  };
  x.scalar_type() == ScalarType::Float ? run(float{}) : run(double{});
  return {marginals, fx, fb};
}

}  // namespace reluxfast
