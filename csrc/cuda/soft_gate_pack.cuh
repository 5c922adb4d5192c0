// soft_gate_pack over a dense array: reads z, d and residual once, writes v and the gates once.
#pragma once

#include "common/scalar.h"
#include "common/soft_gate_pack.h"
#include "cuda/bias.cuh"
#include "cuda/chunk.cuh"

namespace reluxfast {
namespace cuda {

template <class T, int kLanes, Bias kBias, bool kBelow, bool kTwo>
__global__ void __launch_bounds__(kThreads, kBlocks) soft_gate_pack_kernel(SoftGatePack<T> a, Channels channels) {
  using A = Accumulation<T>;
  // Chunks per thread that are read before the first is written, to keep memory busy.
  constexpr int kAhead = 2;
  const int64_t step = int64_t{gridDim.x} * blockDim.x * kLanes;
  int64_t start = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kLanes;
  for (; start < a.numel; start += kAhead * step) {
    Chunk<T, kLanes> z[kAhead], d[kAhead], residual[kAhead];
    RF_UNROLL(2)
    for (int n = 0; n < kAhead; ++n) {
      const int64_t at = start + n * step;
      z[n] = load<T, kLanes>(a.z, at, a.numel);
      if constexpr (kBelow) d[n] = load<T, kLanes>(a.d, at, a.numel);
      if (a.residual != nullptr) residual[n] = load<T, kLanes>(a.residual, at, a.numel);
    }
    RF_UNROLL(2)
    for (int n = 0; n < kAhead; ++n) {
      const int64_t at = start + n * step;
      if (at >= a.numel) break;
      Chunk<T, kLanes> bias, d_bias, v;
      if constexpr (kBias != Bias::none) {
        if (a.bias != nullptr) bias = load_bias<T, kLanes, kBias>(a.bias, channels, at);
        if (kBelow && a.d_bias != nullptr) d_bias = load_bias<T, kLanes, kBias>(a.d_bias, channels, at);
      }
      A q[kTwo + 1][kLanes];
      RF_UNROLL(8)
      for (int k = 0; k < kLanes; ++k) {
        A x = widen(z[n].lanes[k]), below = 0;
        if (kBias != Bias::none && a.bias != nullptr) x += widen(bias.lanes[k]);
        A y = x;
        if (a.residual != nullptr) y += widen(residual[n].lanes[k]);
        if constexpr (kBelow) {
          below = widen(d[n].lanes[k]);
          if (kBias != Bias::none && a.d_bias != nullptr) below += widen(d_bias.lanes[k]);
        }
        const A wide = scalar::clamp(y, a.lo, a.hi);
        v.lanes[k] = narrow<T>(wide);
        RF_UNROLL(2)
        for (int gate = 0; gate <= kTwo; ++gate) {
          const A numerator = a.numerator == 0 ? wide : A{1};
          const scalar::Quotient<A> quotient{a.f[gate], a.f_d[gate],  a.epsilon,     -a.epsilon,
                                             a.shut(),  a.sign(gate), a.least(gate), A{0}};
          q[gate][k] = quotient.template of<kBelow, true>(numerator, x, y, wide, below);
        }
      }
      if (a.v != nullptr) store(a.v, at, a.numel, v);
      RF_UNROLL(2)
      for (int gate = 0; gate <= kTwo; ++gate) {
        if (a.bytes[0] == nullptr) {
          Chunk<T, kLanes> out;
          RF_UNROLL(8)
          for (int k = 0; k < kLanes; ++k) out.lanes[k] = narrow<T>(q[gate][k]);
          store(a.q[gate], at, a.numel, out);
        } else {
          Chunk<uint8_t, kLanes> out;
          RF_UNROLL(8)
          for (int k = 0; k < kLanes; ++k) {
            out.lanes[k] = static_cast<uint8_t>(scalar::byte_value(q[gate][k], A{0}, A(0.5), A{255}));
          }
          store(a.bytes[gate], at, a.numel, out);
        }
      }
    }
  }
}

template <class T, int kLanes, Bias kBias, bool kBelow, class Launch>
void soft_gate_pack(const SoftGatePack<T>& a, Launch& launch) {
  const int64_t blocks = (a.numel + kThreads * kLanes - 1) / (kThreads * kLanes);
  const Channels channels(a.channels, a.inner);
  if (a.gates == 1) {
    launch.template run<&soft_gate_pack_kernel<T, kLanes, kBias, kBelow, false>>(blocks, 1, dim3(kThreads), a,
                                                                                 channels);
  } else {
    launch.template run<&soft_gate_pack_kernel<T, kLanes, kBias, kBelow, true>>(blocks, 1, dim3(kThreads), a, channels);
  }
}

template <class T, int kLanes, Bias kBias, class Launch>
void soft_gate_pack(const SoftGatePack<T>& a, Launch& launch) {
  a.d == nullptr ? soft_gate_pack<T, kLanes, kBias, false>(a, launch)
                 : soft_gate_pack<T, kLanes, kBias, true>(a, launch);
}

// Picks the kernel; `launch` starts it, on the device or in the emulation. numel is at least 1.
template <class T, class Launch>
void soft_gate_pack(const SoftGatePack<T>& a, Launch& launch) {
  constexpr int kLanes = kFull<T>;
  const bool no_bias = a.bias == nullptr && a.d_bias == nullptr;
  bool chunks = aligned(a.z, kLanes) && aligned(a.v, kLanes) && aligned(a.d, kLanes) && aligned(a.residual, kLanes);
  for (int gate = 0; gate < 2; ++gate) chunks = chunks && aligned(a.q[gate], kLanes) && aligned(a.bytes[gate], kLanes);
  if (chunks) {
    if (no_bias) return soft_gate_pack<T, kLanes, Bias::none>(a, launch);
    const bool lanes = Channels::in_chunks(a.channels, a.inner, kLanes) && aligned(a.bias, kLanes);
    lanes&& aligned(a.d_bias, kLanes) ? soft_gate_pack<T, kLanes, Bias::lanes>(a, launch)
                                      : soft_gate_pack<T, kLanes, Bias::any>(a, launch);
  } else {
    no_bias ? soft_gate_pack<T, 1, Bias::none>(a, launch) : soft_gate_pack<T, 1, Bias::any>(a, launch);
  }
}

}  // namespace cuda
}  // namespace reluxfast
