// max_pool_pack: a thread computes neighbouring channels of one window.
#pragma once

#include <cmath>

#include "common/divisor.h"
#include "common/max_pool.h"
#include "common/scalar.h"
#include "cuda/chunk.cuh"
#include "cuda/fields.cuh"

namespace reluxfast {
namespace cuda {

// Splits an element's number into channel, column, row, slice and image of y.
struct PoolSplit {
  Divisor channels, columns, rows, slices;

  explicit PoolSplit(const Pool& p)
      : channels(p.channels), columns(p.width.out), rows(p.height.out), slices(p.depth.out) {}
};

// The running maximum of kLanes windows and the taps that gave it.
template <class T, int kLanes>
struct Best {
  using A = Accumulation<T>;
  A value[kLanes];
  int tap[kLanes];

  RF_INLINE Best(A start, int first) {
    RF_UNROLL(8)
    for (int k = 0; k < kLanes; ++k) value[k] = start, tap[k] = first;
  }

  RF_INLINE void consider(const Chunk<T, kLanes>& x, int its_tap) {
    RF_UNROLL(8)
    for (int k = 0; k < kLanes; ++k) {
      const A candidate = widen(x.lanes[k]);
      const bool taken = scalar::takes(candidate, value[k]);
      value[k] = taken ? candidate : value[k];
      tap[k] = taken ? its_tap : tap[k];
    }
  }
};

// kKernel 2 or 3: that many taps along height and width and one along depth, known to the compiler; 0: any number.
template <class T, int kLanes, int kKernel>
RF_INLINE Best<T, kLanes> pool_window(const PoolPack<T>& a, const PoolSplit& split, int64_t at) {
  const Pool& p = a.pool;
  int64_t image = at;
  const int64_t channel = split.channels.take_remainder(image), ow = split.columns.take_remainder(image);
  const int64_t oh = split.rows.take_remainder(image), od = split.slices.take_remainder(image);
  const int64_t top = p.height.position(oh, 0), left = p.width.position(ow, 0);
  const T* x = a.x + image * p.in_positions() * p.channels + channel;
  // Pooling relu(x) is pooling x from 0 instead of -inf: the first tap wins unless one is larger.
  const Accumulation<T> start = a.relu ? 0 : -INFINITY;
  const int64_t kd_first = p.depth.first_tap(od), kh_first = p.height.first_tap(oh), kw_first = p.width.first_tap(ow);
  Best<T, kLanes> best(start, static_cast<int>((kd_first * p.height.kernel + kh_first) * p.width.kernel + kw_first));
  if constexpr (kKernel > 0) {
    const T* slice = x + p.depth.position(od, 0) * p.height.size * p.width.size * p.channels;
    Chunk<T, kLanes> window[kKernel * kKernel];
    bool valid[kKernel * kKernel];
    RF_UNROLL(9)
    for (int n = 0; n < kKernel * kKernel; ++n) {
      const int64_t h = top + n / kKernel * p.height.dilation, w = left + n % kKernel * p.width.dilation;
      valid[n] = h >= 0 && h < p.height.size && w >= 0 && w < p.width.size;
      if (valid[n]) window[n] = load<T, kLanes>(slice + (h * p.width.size + w) * p.channels);
    }
    RF_UNROLL(9)
    for (int n = 0; n < kKernel * kKernel; ++n) {
      if (valid[n]) best.consider(window[n], n);
    }
  } else {
    const int64_t kd_end = p.depth.end_tap(od), kh_end = p.height.end_tap(oh), kw_end = p.width.end_tap(ow);
    for (int64_t kd = kd_first; kd < kd_end; ++kd) {
      for (int64_t kh = kh_first; kh < kh_end; ++kh) {
        const int64_t line = p.depth.position(od, kd) * p.height.size + top + kh * p.height.dilation;
        for (int64_t kw = kw_first; kw < kw_end; ++kw) {
          const int64_t position = line * p.width.size + left + kw * p.width.dilation;
          best.consider(load<T, kLanes>(x + position * p.channels),
                        static_cast<int>((kd * p.height.kernel + kh) * p.width.kernel + kw));
        }
      }
    }
  }
  return best;
}

template <class T, int kLanes, int kKernel>
__global__ void __launch_bounds__(kThreads, kBlocks) max_pool_pack_kernel(PoolPack<T> a, PoolSplit split) {
  const int64_t numel = a.numel_out(), step = int64_t{gridDim.x} * blockDim.x * kLanes;
  const int64_t lane_offset = threadIdx.x % kWarp * kLanes;
  int64_t at = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kLanes;
  // A warp goes on as long as its first lane has work: packing needs all of them.
  for (; at - lane_offset < numel; at += step) {
    uint64_t taps = 0;
    uint32_t bits = 0;
    if (at < numel) {
      const Best<T, kLanes> best = pool_window<T, kLanes, kKernel>(a, split, at);
      Chunk<T, kLanes> y;
      RF_UNROLL(8)
      for (int k = 0; k < kLanes; ++k) {
        y.lanes[k] = narrow<T>(best.value[k]);
        taps |= static_cast<uint64_t>(best.tap[k]) << (k * a.width);
        const bool positive = best.value[k] > 0;
        bits |= uint32_t{positive} << k;
      }
      *reinterpret_cast<Chunk<T, kLanes>*>(a.y + at) = y;
    }
    if (a.winner != nullptr) store_fields<kLanes>(a.winner, at, numel, a.width, taps);
    if (a.mask != nullptr) store_fields<kLanes>(a.mask, at, numel, 1, bits);
  }
}

template <class T, int kLanes, int kKernel, class Launch>
void max_pool_pack(const PoolPack<T>& a, Launch& launch) {
  const int64_t blocks = (a.numel_out() + kThreads * kLanes - 1) / (kThreads * kLanes);
  launch.template run<&max_pool_pack_kernel<T, kLanes, kKernel>>(blocks, 1, dim3(kThreads), a, PoolSplit(a.pool));
}

// Picks the kernel; `launch` starts it, on the device or in the emulation. y has at least one element.
template <class T, class Launch>
void max_pool_pack(const PoolPack<T>& a, Launch& launch) {
  constexpr int kLanes = kFull<T>;
  const Pool& p = a.pool;
  if (p.channels % kLanes != 0 || !aligned(a.x, kLanes) || !aligned(a.y, kLanes)) {
    return max_pool_pack<T, 1, 0>(a, launch);
  }
  const int64_t square = p.depth.kernel == 1 && p.height.kernel == p.width.kernel ? p.width.kernel : 0;
  // A window along the depth that lies in the padding has no tap; one tap leaves no room for padding.
  switch (square) {
    case 2:
      return max_pool_pack<T, kLanes, 2>(a, launch);
    case 3:
      return max_pool_pack<T, kLanes, 3>(a, launch);
    default:
      return max_pool_pack<T, kLanes, 0>(a, launch);
  }
}

}  // namespace cuda
}  // namespace reluxfast
