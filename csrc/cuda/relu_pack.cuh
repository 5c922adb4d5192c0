// relu_pack over a dense array: one read, one write, and a bit per element.
#pragma once

#include "common/relu_pack.h"
#include "common/scalar.h"
#include "cuda/bias.cuh"
#include "cuda/chunk.cuh"
#include "cuda/fields.cuh"

namespace reluxfast {
namespace cuda {

template <class T, int kLanes, Bias kBias, bool kResidual>
__global__ void __launch_bounds__(kThreads, kBlocks) relu_pack_kernel(ReluPack<T> a, Channels channels) {
  using A = Accumulation<T>;
  // Chunks per thread that are read before the first is written, to keep memory busy.
  constexpr int kAhead = 2;
  const int64_t step = int64_t{gridDim.x} * blockDim.x * kLanes;
  const int64_t lane_offset = threadIdx.x % kWarp * kLanes;
  int64_t start = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kLanes;
  // A warp goes on as long as its first lane has work: packing needs all of them.
  for (; start - lane_offset < a.numel; start += kAhead * step) {
    Chunk<T, kLanes> x[kAhead], residual[kAhead];
    RF_UNROLL(2)
    for (int n = 0; n < kAhead; ++n) {
      const int64_t at = start + n * step;
      x[n] = load<T, kLanes>(a.x, at, a.numel);
      if constexpr (kResidual) residual[n] = load<T, kLanes>(a.residual, at, a.numel);
    }
    RF_UNROLL(2)
    for (int n = 0; n < kAhead; ++n) {
      const int64_t at = start + n * step;
      if (at - lane_offset >= a.numel) break;
      Chunk<T, kLanes> bias;
      if constexpr (kBias != Bias::none) bias = load_bias<T, kLanes, kBias>(a.bias, channels, at);
      Chunk<T, kLanes> y;
      uint32_t bits = 0;
      RF_UNROLL(8)
      for (int k = 0; k < kLanes; ++k) {
        A z = widen(x[n].lanes[k]);
        if constexpr (kBias != Bias::none) z += widen(bias.lanes[k]);
        if constexpr (kResidual) z += widen(residual[n].lanes[k]);
        bits |= static_cast<uint32_t>(scalar::inside(z, a.lo, a.hi) && at + k < a.numel) << k;
        y.lanes[k] = narrow<T>(scalar::clamp(z, a.lo, a.hi));
      }
      store(a.y, at, a.numel, y);
      if (a.mask != nullptr) store_fields<kLanes>(a.mask, at, a.numel, 1, bits);
    }
  }
}

template <class T, int kLanes, Bias kBias, class Launch>
void relu_pack(const ReluPack<T>& a, Launch& launch) {
  const int64_t blocks = (a.numel + kThreads * kLanes - 1) / (kThreads * kLanes);
  const Channels channels(a.channels, a.inner);
  if (a.residual == nullptr) {
    launch.template run<&relu_pack_kernel<T, kLanes, kBias, false>>(blocks, 1, dim3(kThreads), a, channels);
  } else {
    launch.template run<&relu_pack_kernel<T, kLanes, kBias, true>>(blocks, 1, dim3(kThreads), a, channels);
  }
}

// Picks the kernel; `launch` starts it, on the device or in the emulation. numel is at least 1.
template <class T, class Launch>
void relu_pack(const ReluPack<T>& a, Launch& launch) {
  constexpr int kLanes = kFull<T>;
  if (aligned(a.x, kLanes) && aligned(a.y, kLanes) && aligned(a.residual, kLanes)) {
    if (a.bias == nullptr) return relu_pack<T, kLanes, Bias::none>(a, launch);
    const bool lanes = Channels::in_chunks(a.channels, a.inner, kLanes) && aligned(a.bias, kLanes);
    lanes ? relu_pack<T, kLanes, Bias::lanes>(a, launch) : relu_pack<T, kLanes, Bias::any>(a, launch);
  } else {
    a.bias == nullptr ? relu_pack<T, 1, Bias::none>(a, launch) : relu_pack<T, 1, Bias::any>(a, launch);
  }
}

}  // namespace cuda
}  // namespace reluxfast
