// max_pool_pack and max_pool_scatter on tensors, for a device whose kernels are `Kernels`.
#pragma once

#include <tuple>

#include "binding/gate.h"
#include "binding/tensors.h"
#include "common/max_pool.h"

namespace reluxfast {

using Sizes = std::vector<int64_t>;

inline void check_sizes(const char* name, const Sizes& value, int64_t spatial, int64_t least) {
  bool right = static_cast<int64_t>(value.size()) == spatial;
  for (const int64_t v : value) right = right && v >= least;
  STD_TORCH_CHECK(right, name, " must have ", spatial, " sizes of at least ", least,
                  ", one per spatial dimension, got ", text(value));
}

// The windows of a pool over inputs of the given spatial sizes; `out` is left 0.
inline std::vector<Window> windows_of(const Sizes& spatial, const Sizes& kernel, const Sizes& stride,
                                      const Sizes& padding, const Sizes& dilation) {
  const int64_t dims = static_cast<int64_t>(spatial.size());
  STD_TORCH_CHECK(dims >= 1 && dims <= 3, "a pooled tensor must have shape (N, C, *S) with 1 to 3 spatial sizes, got ",
                  dims, " of them");
  check_sizes("kernel", kernel, dims, 1);
  check_sizes("stride", stride, dims, 1);
  check_sizes("padding", padding, dims, 0);
  check_sizes("dilation", dilation, dims, 1);
  std::vector<Window> windows;
  for (int64_t k = 0; k < dims; ++k) {
    STD_TORCH_CHECK(2 * padding[k] <= kernel[k], "padding must be at most half of the kernel, got padding ",
                    text(padding), " for kernel ", text(kernel));
    windows.push_back(Window{spatial[k], 0, kernel[k], stride[k], padding[k], dilation[k]});
  }
  return windows;
}

// channels_last tensors have C values per position, contiguous ones are N*C images of one channel.
inline Pool make_pool(int64_t rows, int64_t channels, bool channels_last, std::vector<Window> windows) {
  while (windows.size() < 3) windows.insert(windows.begin(), Window{1, 1, 1, 1, 0, 1});
  Pool pool;
  pool.images = channels_last ? rows : rows * channels;
  pool.channels = channels_last ? channels : 1;
  pool.depth = windows[0];
  pool.height = windows[1];
  pool.width = windows[2];
  return pool;
}

inline int64_t count_taps(const Sizes& kernel) {
  int64_t taps = 1;
  for (const int64_t k : kernel) taps = taps > 256 ? taps : taps * k;
  STD_TORCH_CHECK(taps <= 256, "kernel must have 1 to 256 taps (product of its sizes), got ", text(kernel),
                  "; pool in several steps instead");
  return taps;
}

template <class Kernels>
std::tuple<Tensor, Tensor, Tensor> max_pool_pack(const Tensor& x, Sizes kernel, Sizes stride, Sizes padding,
                                                 Sizes dilation, bool ceil_mode, bool relu, bool pack) {
  check_dtype("x", x);
  const Sizes shape = sizes_of(x);
  STD_TORCH_CHECK(shape.size() >= 3, "a pooled tensor must have shape (N, C, *S) with 1 to 3 spatial sizes, got shape ",
                  text(shape));
  const Sizes spatial(shape.begin() + 2, shape.end());
  std::vector<Window> windows = windows_of(spatial, kernel, stride, padding, dilation);
  const int width = field_width(count_taps(kernel));
  Sizes out_shape(shape.begin(), shape.begin() + 2);
  for (Window& w : windows) {
    w.out = Window::count(w.size, w.kernel, w.stride, w.padding, w.dilation, ceil_mode);
    STD_TORCH_CHECK(w.out >= 1, "x must be at least as large as the dilated kernel ", text(kernel), ", got shape ",
                    text(shape));
    STD_TORCH_CHECK(w.padding == 0 || w.dilation == 1 || w.size >= w.dilation, "x must be at least as large as the ",
                    "dilation ", text(dilation), " where it is padded, got shape ", text(shape),
                    ": a window would hold no element");
    out_shape.push_back(w.out);
  }
  const Dense in = dense(x);
  const Tensor y = empty_in_order(x, out_shape, in.channels_last);
  const int64_t numel = y.numel();
  const Tensor winner = empty_bytes(x, pack ? packed_bytes(numel, width) : 0);
  const Tensor mask = empty_bytes(x, pack && relu ? packed_bytes(numel, 1) : 0);
  if (numel == 0) return {y, winner, mask};
  dispatch_dtype(x, [&](auto zero) {
    using Storage = decltype(zero);
    PoolPack<Storage> a;
    a.x = static_cast<const Storage*>(in.tensor.const_data_ptr());
    a.y = static_cast<Storage*>(y.mutable_data_ptr());
    a.winner = pack ? static_cast<uint8_t*>(winner.mutable_data_ptr()) : nullptr;
    a.mask = pack && relu ? static_cast<uint8_t*>(mask.mutable_data_ptr()) : nullptr;
    a.pool = make_pool(shape[0], shape[1], in.channels_last, windows);
    a.width = width;
    a.relu = relu;
    Kernels::run(a, x);
  });
  return {y, winner, mask};
}

template <class Kernels>
Tensor max_pool_scatter(const Tensor& g, const Tensor& winner, std::optional<Tensor> mask, Sizes input_spatial,
                        Sizes kernel, Sizes stride, Sizes padding, Sizes dilation, int64_t mode, int64_t period) {
  check_dtype("g", g);
  const Sizes shape = sizes_of(g);
  STD_TORCH_CHECK(shape.size() >= 3, "a pooled tensor must have shape (N, C, *S) with 1 to 3 spatial sizes, got shape ",
                  text(shape));
  check_mode(mode);
  check_period(g, period);
  check_sizes("input_spatial", input_spatial, static_cast<int64_t>(shape.size()) - 2, 0);
  std::vector<Window> windows = windows_of(input_spatial, kernel, stride, padding, dilation);
  const int width = field_width(count_taps(kernel));
  Sizes out_shape(shape.begin(), shape.begin() + 2);
  for (size_t k = 0; k < windows.size(); ++k) {
    Window& w = windows[k];
    w.out = shape[2 + k];
    STD_TORCH_CHECK(w.out == Window::count(w.size, w.kernel, w.stride, w.padding, w.dilation, false) ||
                        w.out == Window::count(w.size, w.kernel, w.stride, w.padding, w.dilation, true),
                    "g must have the pooled size in spatial dimension ", k, ", got ", w.out);
    out_shape.push_back(w.size);
  }
  const Dense in = dense(g);
  Tensor out = empty_in_order(g, out_shape, in.channels_last);
  check_packed("winner", winner, g, packed_bytes(period, width));
  check_mask(mask, g, mode, period);
  if (out.numel() == 0) return out;
  // An input smaller than the kernel has no windows, and nothing flows back to it.
  if (g.numel() == 0) return torch::stable::zero_(out);
  const int64_t per_row = g.numel() / shape[0];
  STD_TORCH_CHECK(period % per_row == 0, "period must be a whole number of rows of g, ", per_row,
                  " elements each, got ", period);
  dispatch_dtype(g, [&](auto zero) {
    using Storage = decltype(zero);
    PoolScatter<Storage> a;
    a.g = static_cast<const Storage*>(in.tensor.const_data_ptr());
    a.winner = static_cast<const uint8_t*>(winner.const_data_ptr());
    a.mask = mode & 1 ? static_cast<const uint8_t*>(mask->const_data_ptr()) : nullptr;
    a.out = static_cast<Storage*>(out.mutable_data_ptr());
    a.pool = make_pool(shape[0], shape[1], in.channels_last, windows);
    a.period_images = period / (a.pool.out_positions() * a.pool.channels);
    a.width = width;
    a.positive = (mode & 2) != 0;
    Kernels::run(a, g);
  });
  return out;
}

}  // namespace reluxfast
