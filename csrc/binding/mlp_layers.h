// Layers of a multilayer perceptron as tensors.
#pragma once

#include <string>
#include <vector>

#include "binding/tensors.h"
#include "common/mlp_layers.h"

namespace reluxfast {

inline void check_mlp_number(const std::string& name, const Tensor& value, const char* x_name, const Tensor& x) {
  STD_TORCH_CHECK(value.scalar_type() == x.scalar_type(), name, " must have the dtype of ", x_name, ", ",
                  text(x.scalar_type()), ", got ", text(value.scalar_type()));
  check_device(name.c_str(), value, x_name, x);
}

// Checks the layers of a network that takes rows of x's last dimension.
inline void check_mlp_layers(const std::vector<Tensor>& weights, const std::vector<Tensor>& biases, size_t most,
                             const char* x_name, const Tensor& x) {
  STD_TORCH_CHECK(!weights.empty() && weights.size() <= most, "weights must hold 1 to ", most, " tensors, got ",
                  weights.size());
  STD_TORCH_CHECK(biases.size() == weights.size(), "biases must hold a tensor for each of the ", weights.size(),
                  " weights, got ", biases.size());
  int64_t width = x.size(x.dim() - 1);
  for (size_t l = 0; l < weights.size(); ++l) {
    const std::string weight = "weights[" + std::to_string(l) + "]", bias = "biases[" + std::to_string(l) + "]";
    check_mlp_number(weight, weights[l], x_name, x);
    STD_TORCH_CHECK(weights[l].dim() == 2 && weights[l].size(0) > 0 && weights[l].size(1) == width, weight,
                    " must have shape (H, ", width, "), H at least 1, got ", text(sizes_of(weights[l])));
    width = weights[l].size(0);
    check_mlp_number(bias, biases[l], x_name, x);
    STD_TORCH_CHECK(biases[l].dim() == 1 && biases[l].size(0) == width, bias, " must have shape (", width, ",), got ",
                    text(sizes_of(biases[l])));
  }
}

// Tensors in contiguous memory, which outlives the call.
class Contiguous {
 public:
  template <class T>
  const T* of(const Tensor& tensor) {
    held_.push_back(in_order(tensor, false));
    return static_cast<const T*>(held_.back().const_data_ptr());
  }

 private:
  std::vector<Tensor> held_;
};

template <class T>
void set_mlp_layers(MlpLayers<T>& a, const std::vector<Tensor>& weights, const std::vector<Tensor>& biases,
                    Contiguous& held) {
  a.layers = static_cast<int>(weights.size());
  a.widths[0] = weights[0].size(1);
  for (int l = 0; l < a.layers; ++l) {
    a.weights[l] = held.of<T>(weights[l]);
    a.biases[l] = held.of<T>(biases[l]);
    a.widths[l + 1] = weights[l].size(0);
  }
}

}  // namespace reluxfast
