// mlp_chains on tensors, for a device whose kernels are `Kernels`.
#pragma once

#include <tuple>

#include "binding/mlp_layers.h"
#include "common/mlp_chains.h"

namespace reluxfast {

inline void check_mlp_index(const char* name, const Tensor& index, const Tensor& x) {
  STD_TORCH_CHECK(index.scalar_type() == ScalarType::Int, name, " must be int32, got ", text(index.scalar_type()),
                  "; convert it with .int()");
  check_device(name, index, "x", x);
}

inline void check_mlp_chains(const Tensor& x, const Tensor& background, const Tensor& cycle, const Tensor& permutations,
                             const Tensor& members, const Tensor& starts, const std::vector<Tensor>& weights,
                             const std::vector<Tensor>& biases) {
  const ScalarType type = x.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double, "x must be float32 or float64, got ",
                  text(type), "; convert it with .float()");
  STD_TORCH_CHECK(x.dim() == 2 && x.size(1) > 0, "x must have shape (N, d), d at least 1, got ", text(sizes_of(x)));
  check_mlp_number("background", background, "x", x);
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
  check_mlp_layers(weights, biases, kMostLayers, "x", x);
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
  Contiguous held;
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    MlpChains<T> a{};
    a.x = held.of<T>(x);
    a.background = held.of<T>(background);
    a.cycle = held.of<int32_t>(cycle);
    a.permutations = held.of<int32_t>(permutations);
    a.members = held.of<int32_t>(members);
    a.starts = held.of<int32_t>(starts);
    set_mlp_layers(a, weights, biases, held);
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
