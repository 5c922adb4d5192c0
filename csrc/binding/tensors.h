// What the bindings of all ops and devices share: dense order, allocation, checks, and the step from a tensor's dtype
// to a storage type.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/Dispatch_v2.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/bits.h"
#include "common/dtypes.h"

namespace reluxfast {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <class T>
struct StorageOf {
  using type = T;
};
template <>
struct StorageOf<c10::Half> {
  using type = Half;
};
template <>
struct StorageOf<c10::BFloat16> {
  using type = BFloat16;
};

// Calls f with a value of the storage type of the tensor's dtype: float, double, Half or BFloat16.
template <class F>
void dispatch_dtype(const Tensor& tensor, const F& f) {
  THO_DISPATCH_V2(tensor.scalar_type(), "a reluxfast op", AT_WRAP([&] { f(typename StorageOf<scalar_t>::type{}); }),
                  AT_EXPAND(AT_FLOATING_TYPES), ScalarType::Half, ScalarType::BFloat16);
}

inline std::vector<int64_t> sizes_of(const Tensor& x) {
  const auto sizes = x.sizes();
  return std::vector<int64_t>(sizes.begin(), sizes.end());
}

inline std::vector<int64_t> strides_of(const Tensor& x) {
  const auto strides = x.strides();
  return std::vector<int64_t>(strides.begin(), strides.end());
}

inline std::string text(const std::vector<int64_t>& sizes) {
  std::string out = "(";
  for (size_t k = 0; k < sizes.size(); ++k) out += (k ? ", " : "") + std::to_string(sizes[k]);
  // As Python writes a tuple.
  return out + (sizes.size() == 1 ? ",)" : ")");
}

// As torch writes the dtype in Python.
inline std::string text(ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return "torch.float32";
    case ScalarType::Double:
      return "torch.float64";
    case ScalarType::Half:
      return "torch.float16";
    case ScalarType::BFloat16:
      return "torch.bfloat16";
    case ScalarType::Bool:
      return "torch.bool";
    case ScalarType::Byte:
      return "torch.uint8";
    case ScalarType::Char:
      return "torch.int8";
    case ScalarType::Short:
      return "torch.int16";
    case ScalarType::Int:
      return "torch.int32";
    case ScalarType::Long:
      return "torch.int64";
    default:
      return torch::headeronly::toString(type);
  }
}

inline std::string text(const torch::stable::Device& device) {
  return device.is_cpu() ? "cpu" : (device.is_cuda() ? "cuda:" : "device ") + std::to_string(device.index());
}

// Dense with dim 1 innermost and the others in order, and not dense in contiguous order.
inline bool is_channels_last(const Tensor& x) {
  const int64_t dims = x.dim();
  if (dims < 3 || x.is_contiguous()) return false;
  const auto sizes = x.sizes();
  const auto strides = x.strides();
  int64_t expected = 1;
  for (int64_t k = 0; k < dims; ++k) {
    const int64_t dim = k == 0 ? 1 : k == dims - 1 ? 0 : dims - k;
    if (sizes[dim] != 1 && strides[dim] != expected) return false;
    expected *= sizes[dim];
  }
  return true;
}

inline Tensor empty_in_order(const Tensor& like, std::vector<int64_t> sizes, bool channels_last,
                             std::optional<ScalarType> type = std::nullopt) {
  if (!channels_last) return torch::stable::new_empty(like, sizes, type);
  const int64_t dims = static_cast<int64_t>(sizes.size());
  sizes.push_back(sizes[1]);
  sizes.erase(sizes.begin() + 1);
  Tensor x = torch::stable::new_empty(like, sizes, type);
  for (int64_t dim = 1; dim + 1 < dims; ++dim) x = torch::stable::transpose(x, dim, dims - 1);
  return x;
}

inline Tensor empty_bytes(const Tensor& like, int64_t count) {
  return torch::stable::new_empty(like, {count}, ScalarType::Byte);
}

// x itself if it is dense in the given order, else a copy that is.
inline Tensor in_order(const Tensor& x, bool channels_last) {
  const bool there = channels_last ? is_channels_last(x) : x.is_contiguous();
  if (there) return x;
  Tensor copy = empty_in_order(x, sizes_of(x), channels_last);
  torch::stable::copy_(copy, x);
  return copy;
}

struct Dense {
  Tensor tensor;
  bool channels_last;
};

// x if it is dense in either order, else a contiguous copy.
inline Dense dense(const Tensor& x) {
  const bool channels_last = is_channels_last(x);
  return {in_order(x, channels_last), channels_last};
}

inline void check_dtype(const char* name, const Tensor& x) {
  const ScalarType type = x.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::Half ||
                      type == ScalarType::BFloat16,
                  name, " must be float32, float64, float16 or bfloat16, got ", text(type),
                  "; convert it with .float()");
}

inline void check_dense(const char* name, const Tensor& x) {
  STD_TORCH_CHECK(x.is_contiguous() || is_channels_last(x), name,
                  " must be dense (contiguous or channels-last) to be changed in place, got shape ", text(sizes_of(x)),
                  "; call the op without the trailing underscore, or ", name, ".contiguous() first");
}

inline void check_device(const char* name, const Tensor& value, const char* like_name, const Tensor& like) {
  STD_TORCH_CHECK(value.device() == like.device(), name, " must be on the device of ", like_name, ", ",
                  text(like.device()), ", got ", text(value.device()));
}

inline void check_like(const char* name, const Tensor& value, const char* like_name, const Tensor& like) {
  check_device(name, value, like_name, like);
  STD_TORCH_CHECK(sizes_of(value) == sizes_of(like), name, " must have the shape of ", like_name, ", ",
                  text(sizes_of(like)), ", got ", text(sizes_of(value)));
  STD_TORCH_CHECK(value.scalar_type() == like.scalar_type(), name, " must have the dtype of ", like_name);
}

inline void check_bias(const char* name, const Tensor& bias, const char* like_name, const Tensor& like) {
  STD_TORCH_CHECK(bias.device() == like.device() && bias.scalar_type() == like.scalar_type(), name, " must have ",
                  like_name, "'s dtype and device, ", text(like.scalar_type()), " on ", text(like.device()), ", got ",
                  text(bias.scalar_type()), " on ", text(bias.device()));
  STD_TORCH_CHECK(like.dim() >= 2 && bias.dim() == 1 && bias.size(0) == like.size(1), name,
                  " must have shape (C,) for ", like_name, " of shape (N, C, ...), got ", text(sizes_of(bias)), " for ",
                  like_name, " of shape ", text(sizes_of(like)));
}

inline void check_packed(const char* name, const Tensor& packed, const Tensor& g, int64_t need) {
  check_device(name, packed, "g", g);
  STD_TORCH_CHECK(packed.scalar_type() == ScalarType::Byte && packed.dim() == 1 && packed.is_contiguous(), name,
                  " must be a contiguous 1-D uint8 tensor");
  STD_TORCH_CHECK(packed.numel() == need, name, " must hold ", need, " bytes for the given period, got ",
                  packed.numel());
}

inline void check_mode(int64_t mode) {
  STD_TORCH_CHECK(mode >= 0 && mode <= 3,
                  "mode must be 0 (none), 1 (gradient), 2 (deconvnet) or 3 (guided backpropagation), got ", mode);
}

inline void check_period(const Tensor& g, int64_t period) {
  STD_TORCH_CHECK(g.numel() == 0 || (period > 0 && g.numel() % period == 0),
                  "period must divide the number of elements of g, ", g.numel(), ", got ", period);
}

}  // namespace reluxfast
