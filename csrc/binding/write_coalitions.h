// write_coalitions_ on tensors, for a device whose kernels are `Kernels`.
#pragma once

#include "binding/tensors.h"
#include "common/write_coalitions.h"

namespace reluxfast {

inline void check_contiguous(const char* name, const Tensor& x, const std::string& remedy) {
  STD_TORCH_CHECK(x.is_contiguous(), name, " must be contiguous, got shape ", text(sizes_of(x)), " with strides ",
                  text(strides_of(x)), "; ", remedy);
}

inline void check_shape(const char* name, const Tensor& x, bool right, const std::string& shape) {
  STD_TORCH_CHECK(right, name, " must have shape ", shape, ", got ", text(sizes_of(x)));
}

inline void check_indices(const char* name, const Tensor& indices) {
  STD_TORCH_CHECK(indices.scalar_type() == ScalarType::Int, name, " must be int32, got ",
                  torch::headeronly::toString(indices.scalar_type()), "; convert it with .int()");
}

inline void check_write_coalitions(const Tensor& out, const Tensor& x, const Tensor& background, const Tensor& labels,
                                   const Tensor& ranks, const Tensor& jobs) {
  check_dtype("x", x);
  check_shape("x", x, x.dim() == 2, "(N, d)");
  const int64_t d = x.size(1);
  const std::string of_x = " with x's d, " + std::to_string(d);
  check_shape("background", background, background.dim() == 2 && background.size(1) == d, "(B, d)" + of_x);
  check_shape("labels", labels, labels.dim() == 1 && labels.size(0) == d, "(d,)" + of_x);
  check_shape("ranks", ranks, ranks.dim() == 2, "(P, n)");
  check_shape("jobs", jobs, jobs.dim() == 2 && jobs.size(1) == kJobFields, "(M, 4)");
  const int64_t count = jobs.size(0);
  check_shape("out", out, out.dim() == 2 && out.size(0) == count && out.size(1) == d,
              "(M, d) with jobs' M and x's d, " + text({count, d}));
  const ScalarType type = x.scalar_type(), out_type = out.scalar_type();
  STD_TORCH_CHECK(background.scalar_type() == type, "background must have the dtype of x, ",
                  torch::headeronly::toString(type), ", got ", torch::headeronly::toString(background.scalar_type()));
  const bool halved = type == ScalarType::Float && (out_type == ScalarType::Half || out_type == ScalarType::BFloat16);
  STD_TORCH_CHECK(out_type == type || halved, "out must have the dtype of x, ", torch::headeronly::toString(type),
                  ", or be float16 or bfloat16 where x is float32, got ", torch::headeronly::toString(out_type),
                  "; convert x and background first");
  check_indices("labels", labels);
  check_indices("ranks", ranks);
  check_indices("jobs", jobs);
  const std::pair<const char*, const Tensor*> tensors[] = {
      {"background", &background}, {"labels", &labels}, {"ranks", &ranks}, {"jobs", &jobs}};
  check_device("out", out, "x", x);
  for (const auto& [name, tensor] : tensors) check_device(name, *tensor, "x", x);
  check_contiguous("x", x, "call x.contiguous() first");
  check_contiguous("out", out, "make it with torch.empty(M, d)");
  for (const auto& [name, tensor] : tensors) {
    check_contiguous(name, *tensor, "call " + std::string(name) + ".contiguous() first");
  }
  STD_TORCH_CHECK(count == 0 || d == 0 || (x.size(0) > 0 && background.size(0) > 0 && ranks.numel() > 0),
                  "x, background and ranks must not be empty where out is not, got shapes ", text(sizes_of(x)), ", ",
                  text(sizes_of(background)), " and ", text(sizes_of(ranks)));
}

// Calls f with a value of the type that elements are read as and one of the type that they are written as.
template <class F>
void dispatch_move(const Tensor& x, const Tensor& out, const F& f) {
  if (x.scalar_type() == out.scalar_type()) {
    switch (x.element_size()) {
      case 2:
        return f(uint16_t{}, uint16_t{});
      case 4:
        return f(uint32_t{}, uint32_t{});
      default:
        return f(uint64_t{}, uint64_t{});
    }
  }
  if (out.scalar_type() == ScalarType::Half) return f(float{}, Half{});
  f(float{}, BFloat16{});
}

template <class Kernels>
void write_coalitions_(const Tensor& out, const Tensor& x, const Tensor& background, const Tensor& labels,
                       const Tensor& ranks, const Tensor& jobs) {
  check_write_coalitions(out, x, background, labels, ranks, jobs);
  if (out.numel() == 0) return;
  dispatch_move(x, out, [&](auto read, auto written) {
    using T = decltype(read);
    using S = decltype(written);
    WriteCoalitions<T, S> a{};
    a.x = static_cast<const T*>(x.const_data_ptr());
    a.background = static_cast<const T*>(background.const_data_ptr());
    a.out = static_cast<S*>(out.mutable_data_ptr());
    a.labels = static_cast<const int32_t*>(labels.const_data_ptr());
    a.ranks = static_cast<const int32_t*>(ranks.const_data_ptr());
    a.jobs = static_cast<const int32_t*>(jobs.const_data_ptr());
    a.rows = x.size(0);
    a.bases = background.size(0);
    a.orders = ranks.size(0);
    a.count = jobs.size(0);
    a.d = x.size(1);
    a.players = ranks.size(1);
    Kernels::run(a, x);
  });
}

}  // namespace reluxfast
