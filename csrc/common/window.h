// Geometry of a pooling window along one dimension, and of a pool over three of them (missing ones have size 1).
#pragma once

#include <cstdint>

#include "common/macros.h"

namespace reluxfast {

struct Window {
  int64_t size;  // of the input
  int64_t out;   // number of windows
  int64_t kernel, stride, padding, dilation;

  // Input position that tap `tap` of window `index` reads; it may lie in the padding.
  RF_INLINE int64_t position(int64_t index, int64_t tap) const { return index * stride - padding + tap * dilation; }

  // First tap of window `index` that is not in the left padding.
  RF_INLINE int64_t first_tap(int64_t index) const {
    const int64_t start = index * stride - padding;
    return start >= 0 ? 0 : dilation == 1 ? -start : (-start + dilation - 1) / dilation;
  }

  // One past the last tap of window `index` inside the input; at least first_tap.
  RF_INLINE int64_t end_tap(int64_t index) const {
    const int64_t first = first_tap(index), room = size - position(index, 0);
    const int64_t end = room <= 0 ? 0 : dilation == 1 ? room : (room + dilation - 1) / dilation;
    const int64_t capped = end < kernel ? end : kernel;
    return capped > first ? capped : first;
  }

  // The window whose tap `tap` reads input position `at`, or -1.
  RF_INLINE int64_t window_of(int64_t at, int64_t tap) const {
    const int64_t from = at + padding - tap * dilation;
    if (from < 0 || from % stride != 0) return -1;
    const int64_t index = from / stride;
    return index < out ? index : -1;
  }

  // Number of windows there are: a last one must start inside the input or its left padding.
  static RF_INLINE int64_t count(int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation,
                                 bool ceil_mode) {
    const int64_t room = size + 2 * padding - dilation * (kernel - 1) - 1;
    if (room + (ceil_mode ? stride - 1 : 0) < 0) return 0;
    const int64_t windows = (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
    return ceil_mode && (windows - 1) * stride >= size + padding ? windows - 1 : windows;
  }
};

// Images of `channels` innermost values per position; an NCHW tensor is N*C images of one channel.
struct Pool {
  int64_t images, channels;
  Window depth, height, width;

  RF_INLINE int64_t in_positions() const { return depth.size * height.size * width.size; }
  RF_INLINE int64_t out_positions() const { return depth.out * height.out * width.out; }
  RF_INLINE int64_t taps() const { return depth.kernel * height.kernel * width.kernel; }
};

}  // namespace reluxfast
