// write_coalitions over rows: a thread keeps the labels of a chunk and chooses it for one row after another.
#pragma once

#include "common/write_coalitions.h"
#include "cuda/chunk.cuh"

namespace reluxfast {
namespace cuda {

template <class T, class S, int kLanes>
__global__ void __launch_bounds__(kThreads, kBlocks) write_coalitions_kernel(WriteCoalitions<T, S> a) {
  constexpr uint32_t kAll = (1u << kLanes) - 1;
  const int64_t step = int64_t{gridDim.x} * blockDim.x * kLanes, rows = int64_t{gridDim.y} * blockDim.y;
  const int64_t first = int64_t{blockIdx.y} * blockDim.y + threadIdx.y;
  for (int64_t at = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kLanes; at < a.d; at += step) {
    const Chunk<int32_t, kLanes> labels = load<int32_t, kLanes>(a.labels + at);
    // Unrolled, the compiler would take the stores apart.
    RF_UNROLL(1)
    for (int64_t m = first; m < a.count; m += rows) {
      const int32_t* job = a.jobs + m * kJobFields;
      const int32_t *ranks = a.ranks + job[kOrder] * a.players, below = job[kBelow];
      uint32_t present = 0;
      RF_UNROLL(8)
      for (int k = 0; k < kLanes; ++k) present |= uint32_t{ranks[labels.lanes[k]] < below} << k;
      // Mostly a chunk comes from one of the two, and the other need not be read.
      Chunk<T, kLanes> chosen{};
      if (present != 0) chosen = load<T, kLanes>(a.x + job[kRow] * a.d + at);
      if (present != kAll) {
        const Chunk<T, kLanes> absent = load<T, kLanes>(a.background + job[kBase] * a.d + at);
        RF_UNROLL(8)
        for (int k = 0; k < kLanes; ++k) {
          if (!((present >> k) & 1)) chosen.lanes[k] = absent.lanes[k];
        }
      }
      Chunk<S, kLanes> out;
      RF_UNROLL(8)
      for (int k = 0; k < kLanes; ++k) {
        if constexpr (sizeof(S) == sizeof(T)) {
          out.lanes[k] = chosen.lanes[k];
        } else {
          out.lanes[k] = narrow<S>(chosen.lanes[k]);
        }
      }
      *reinterpret_cast<Chunk<S, kLanes>*>(a.out + m * a.d + at) = out;
    }
  }
}

template <class T, class S, int kLanes, class Launch>
void write_coalitions(const WriteCoalitions<T, S>& a, Launch& launch) {
  const int64_t chunks = a.d / kLanes;
  int x = 1;
  while (x < kThreads && x < chunks) x *= 2;
  const int y = kThreads / x;
  launch.template run<&write_coalitions_kernel<T, S, kLanes>>((chunks + x - 1) / x, (a.count + y - 1) / y, dim3(x, y),
                                                              a);
}

// Picks the kernel; `launch` starts it, on the device or in the emulation. There is at least one element.
template <class T, class S, class Launch>
void write_coalitions(const WriteCoalitions<T, S>& a, Launch& launch) {
  constexpr int kLanes = kFull<S>;
  const bool arrays_aligned = aligned(a.x, kLanes) && aligned(a.background, kLanes) && aligned(a.out, kLanes);
  if (a.d % kLanes == 0 && arrays_aligned && aligned(a.labels, kLanes)) {
    write_coalitions<T, S, kLanes>(a, launch);
  } else {
    write_coalitions<T, S, 1>(a, launch);
  }
}

}  // namespace cuda
}  // namespace reluxfast
