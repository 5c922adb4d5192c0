// soft_gate over a dense array: one read, one write, and a gate per element of a period.
#pragma once

#include "common/soft_gate.h"
#include "cuda/chunk.cuh"

namespace reluxfast {
namespace cuda {

// Q: what the gate is stored as, T or uint8_t.
template <class T, class Q, int kLanes, bool kSkip>
__global__ void __launch_bounds__(kThreads, kBlocks) soft_gate_kernel(SoftGate<T> a, const Q* gates) {
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
      Chunk<Q, kLanes> q[kAhead];
      RF_UNROLL(2)
      for (int n = 0; n < kAhead; ++n) {
        const int64_t at = start + n * step;
        g[n] = load<T, kLanes>(g_row, at, a.period);
        if constexpr (kSkip) skip[n] = load<T, kLanes>(skip_row, at, a.period);
        q[n] = load<Q, kLanes>(gates, at, a.period);
      }
      RF_UNROLL(2)
      for (int n = 0; n < kAhead; ++n) {
        const int64_t at = start + n * step;
        Chunk<T, kLanes> out;
        RF_UNROLL(8)
        for (int k = 0; k < kLanes; ++k) {
          A s = widen(g[n].lanes[k]), w;
          if constexpr (kSkip) s += widen(skip[n].lanes[k]);
          if constexpr (sizeof(Q) == 1) {
            w = static_cast<A>(q[n].lanes[k]) * kByteUnit<A>;
          } else {
            w = widen(q[n].lanes[k]);
          }
          out.lanes[k] = narrow<T>(w != 0 ? s * w : A{0});
        }
        store(out_row, at, a.period, out);
      }
    }
  }
}

template <class T, int kLanes, class Q, class Launch>
void soft_gate(const SoftGate<T>& a, const Q* gates, Launch& launch) {
  const int64_t blocks = (a.period + kThreads * kLanes - 1) / (kThreads * kLanes);
  if (a.skip == nullptr) {
    launch.template run<&soft_gate_kernel<T, Q, kLanes, false>>(blocks, a.repeats, dim3(kThreads), a, gates);
  } else {
    launch.template run<&soft_gate_kernel<T, Q, kLanes, true>>(blocks, a.repeats, dim3(kThreads), a, gates);
  }
}

template <class T, int kLanes, class Launch>
void soft_gate(const SoftGate<T>& a, Launch& launch) {
  a.q == nullptr ? soft_gate<T, kLanes>(a, a.bytes, launch) : soft_gate<T, kLanes>(a, a.q, launch);
}

// Picks the kernel; `launch` starts it, on the device or in the emulation. There is at least one element.
template <class T, class Launch>
void soft_gate(const SoftGate<T>& a, Launch& launch) {
  constexpr int kLanes = kFull<T>;
  const bool rows_aligned = a.repeats == 1 || a.period % kLanes == 0;
  const bool maps_aligned = aligned(a.g, kLanes) && aligned(a.out, kLanes) && aligned(a.skip, kLanes);
  if (rows_aligned && maps_aligned && aligned(a.q, kLanes) && aligned(a.bytes, kLanes)) {
    soft_gate<T, kLanes>(a, launch);
  } else {
    soft_gate<T, 1>(a, launch);
  }
}

}  // namespace cuda
}  // namespace reluxfast
