// gate over a dense array: one read, one write, and a bit per element of a period.
#pragma once

#include "common/gate.h"
#include "cuda/chunk.cuh"
#include "cuda/fields.cuh"

namespace reluxfast {
namespace cuda {

template <class T, int kLanes, int kMode, bool kSkip>
__global__ void __launch_bounds__(kThreads, kBlocks) gate_kernel(Gate<T> a) {
  using A = Accumulation<T>;
  // Chunks per thread that are read before the first is written, to keep memory busy.
  constexpr int kAhead = 2;
  const int64_t step = int64_t{gridDim.x} * blockDim.x * kLanes;
  const int64_t first = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kLanes;
  for (int64_t repeat = blockIdx.y; repeat < a.repeats; repeat += gridDim.y) {
    const T *g_row = a.g + repeat * a.period, *skip_row = kSkip ? a.skip + repeat * a.period : nullptr;
    T* out_row = a.out + repeat * a.period;
    for (int64_t start = first; start < a.period; start += kAhead * step) {
      Chunk<T, kLanes> g[kAhead], skip[kAhead];
      uint32_t bits[kAhead] = {};
      RF_UNROLL(2)
      for (int n = 0; n < kAhead; ++n) {
        const int64_t at = start + n * step;
        g[n] = load<T, kLanes>(g_row, at, a.period);
        if constexpr (kSkip) skip[n] = load<T, kLanes>(skip_row, at, a.period);
        if constexpr (kMode & 1) {
          if (at < a.period) bits[n] = load_fields<kLanes, 1>(a.mask, at);
        }
      }
      RF_UNROLL(2)
      for (int n = 0; n < kAhead; ++n) {
        const int64_t at = start + n * step;
        Chunk<T, kLanes> out;
        RF_UNROLL(8)
        for (int k = 0; k < kLanes; ++k) {
          A s = widen(g[n].lanes[k]);
          if constexpr (kSkip) s += widen(skip[n].lanes[k]);
          bool keep = true;
          if constexpr (kMode & 1) keep = (bits[n] >> k) & 1;
          if constexpr (kMode & 2) keep = keep && s > 0;
          out.lanes[k] = narrow<T>(keep ? s : A{0});
        }
        store(out_row, at, a.period, out);
      }
    }
  }
}

template <class T, int kLanes, int kMode, class Launch>
void gate(const Gate<T>& a, Launch& launch) {
  const int64_t blocks = (a.period + kThreads * kLanes - 1) / (kThreads * kLanes);
  if (a.skip == nullptr) {
    launch.template run<&gate_kernel<T, kLanes, kMode, false>>(blocks, a.repeats, dim3(kThreads), a);
  } else {
    launch.template run<&gate_kernel<T, kLanes, kMode, true>>(blocks, a.repeats, dim3(kThreads), a);
  }
}

template <class T, int kLanes, class Launch>
void gate(const Gate<T>& a, Launch& launch) {
  switch (a.mode) {
    case 0:
      return gate<T, kLanes, 0>(a, launch);
    case 1:
      return gate<T, kLanes, 1>(a, launch);
    case 2:
      return gate<T, kLanes, 2>(a, launch);
    case 3:
      return gate<T, kLanes, 3>(a, launch);
  }
}

// Picks the kernel; `launch` starts it, on the device or in the emulation. There is at least one element.
template <class T, class Launch>
void gate(const Gate<T>& a, Launch& launch) {
  constexpr int kLanes = kFull<T>;
  const bool rows_aligned = a.repeats == 1 || a.period % kLanes == 0;
  if (rows_aligned && aligned(a.g, kLanes) && aligned(a.out, kLanes) && aligned(a.skip, kLanes)) {
    gate<T, kLanes>(a, launch);
  } else {
    gate<T, 1>(a, launch);
  }
}

}  // namespace cuda
}  // namespace reluxfast
