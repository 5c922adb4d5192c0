// max_pool_scatter as a gather: a thread sums what the windows over one position send to it. No atomics, no memset.
#pragma once

#include "common/divisor.h"
#include "common/max_pool.h"
#include "cuda/chunk.cuh"
#include "cuda/fields.cuh"

namespace reluxfast {
namespace cuda {

// The windows along one dimension that read one input position, in ascending order of the taps by which they do.
class Readers {
 public:
  RF_INLINE Readers(const Window& along, const Divisor& stride, int64_t at) : along_(along), at_(at) {
    if (along.dilation == 1) {
      window_ = at + along.padding;
      tap_ = stride.take_remainder(window_);
      if (window_ >= along.out) {
        tap_ += (window_ - along.out + 1) * along.stride;
        window_ = along.out - 1;
      }
    } else {
      tap_ = -1;
      next();
    }
  }

  RF_INLINE bool any() const { return tap_ < along_.kernel && window_ >= 0; }

  RF_INLINE void next() {
    if (along_.dilation == 1) {
      tap_ += along_.stride;
      --window_;
    } else {
      do {
        ++tap_;
        window_ = along_.window_of(at_, tap_);
      } while (window_ < 0 && tap_ < along_.kernel);
    }
  }

  RF_INLINE int64_t tap() const { return tap_; }
  RF_INLINE int64_t window() const { return window_; }

 private:
  const Window& along_;
  int64_t at_, tap_, window_;
};

struct ScatterSplit {
  Divisor rows, slices, period_images;  // split a row's number; an image's number within the period
  Divisor chunks;                       // of one position
  Divisor stride_depth, stride_height, stride_width;

  ScatterSplit(const Pool& p, int64_t period_images, int lanes)
      : rows(p.height.size),
        slices(p.depth.size),
        period_images(period_images),
        chunks(p.channels / lanes),
        stride_depth(p.depth.stride),
        stride_height(p.height.stride),
        stride_width(p.width.stride) {}
};

// A block's y counts rows of the input, its x the chunks of a row.
template <class T, int kLanes, int kWidth>
__global__ void __launch_bounds__(kThreads, kBlocks) max_pool_scatter_kernel(PoolScatter<T> a, ScatterSplit split) {
  using A = Accumulation<T>;
  const Pool& p = a.pool;
  const int64_t rows = a.rows(), row_chunks = p.width.size * p.channels / kLanes;
  const int64_t numel_image = p.out_positions() * p.channels;
  for (int64_t row = int64_t{blockIdx.x} * blockDim.y + threadIdx.y; row < rows;
       row += int64_t{gridDim.x} * blockDim.y) {
    int64_t image = row;
    const int64_t h = split.rows.take_remainder(image), d = split.slices.take_remainder(image);
    int64_t period = image;
    const int64_t in_period = split.period_images.take_remainder(period) * numel_image;
    const T* g_image = a.g + image * numel_image;
    const Readers first_depth(p.depth, split.stride_depth, d), first_height(p.height, split.stride_height, h);
    for (int64_t chunk = threadIdx.x; chunk < row_chunks; chunk += blockDim.x) {
      int64_t w = chunk;
      const int64_t channel = split.chunks.take_remainder(w) * kLanes;
      const Readers first_width(p.width, split.stride_width, w);
      A sum[kLanes] = {};
      for (Readers depth = first_depth; depth.any(); depth.next()) {
        for (Readers height = first_height; height.any(); height.next()) {
          const int64_t line = (depth.window() * p.height.out + height.window()) * p.width.out;
          const int64_t line_tap = (depth.tap() * p.height.kernel + height.tap()) * p.width.kernel;
          for (Readers width = first_width; width.any(); width.next()) {
            const int64_t from = (line + width.window()) * p.channels + channel;
            const auto tap = static_cast<uint32_t>(line_tap + width.tap());
            const Chunk<T, kLanes> g = load<T, kLanes>(g_image + from);
            const auto taps = load_fields<kLanes, kWidth>(a.winner, in_period + from);
            const uint32_t bits = a.mask == nullptr ? ~0u : load_fields<kLanes, 1>(a.mask, in_period + from);
            RF_UNROLL(8)
            for (int k = 0; k < kLanes; ++k) {
              const bool chosen = ((taps >> (k * kWidth)) & ((1u << kWidth) - 1)) == tap;
              sum[k] += chosen && ((bits >> k) & 1) ? widen(g.lanes[k]) : A{0};
            }
          }
        }
      }
      Chunk<T, kLanes> out;
      RF_UNROLL(8)
      for (int k = 0; k < kLanes; ++k) out.lanes[k] = narrow<T>(a.positive && !(sum[k] > 0) ? A{0} : sum[k]);
      *reinterpret_cast<Chunk<T, kLanes>*>(a.out + (row * row_chunks + chunk) * kLanes) = out;
    }
  }
}

template <class T, int kLanes, int kWidth, class Launch>
void max_pool_scatter(const PoolScatter<T>& a, Launch& launch) {
  const int64_t row_chunks = a.pool.width.size * a.pool.channels / kLanes;
  int x = 1;
  while (x < kThreads && x < row_chunks) x *= 2;
  const int y = kThreads / x;
  launch.template run<&max_pool_scatter_kernel<T, kLanes, kWidth>>((a.rows() + y - 1) / y, 1, dim3(x, y), a,
                                                                   ScatterSplit(a.pool, a.period_images, kLanes));
}

template <class T, int kLanes, class Launch>
void max_pool_scatter(const PoolScatter<T>& a, Launch& launch) {
  switch (a.width) {
    case 2:
      return max_pool_scatter<T, kLanes, 2>(a, launch);
    case 4:
      return max_pool_scatter<T, kLanes, 4>(a, launch);
    case 8:
      return max_pool_scatter<T, kLanes, 8>(a, launch);
  }
}

// Picks the kernel; `launch` starts it, on the device or in the emulation. out has at least one element.
template <class T, class Launch>
void max_pool_scatter(const PoolScatter<T>& a, Launch& launch) {
  constexpr int kLanes = kFull<T>;
  const bool whole = a.pool.channels % kLanes == 0 && aligned(a.winner, 8);
  if (whole && aligned(a.g, kLanes) && aligned(a.out, kLanes)) {
    max_pool_scatter<T, kLanes>(a, launch);
  } else {
    max_pool_scatter<T, 1>(a, launch);
  }
}

}  // namespace cuda
}  // namespace reluxfast
