// Bias, residual, clamp and the quotients of one or two soft gates over a dense array in memory order.
#pragma once

#include <cstdint>
#include <limits>

#include "common/dtypes.h"
#include "common/macros.h"

namespace reluxfast {

template <class A>
constexpr A kNan = std::numeric_limits<A>::quiet_NaN();
template <class A>
constexpr A kInfinity = std::numeric_limits<A>::infinity();

template <class T>
struct SoftGatePack {
  const T* z;         // [numel]
  T* v;               // [numel], may be z, or null: not stored
  const T* d;         // [numel] in z's order, or null
  const T* residual;  // [numel] in z's order, or null
  const T* bias;      // [channels], or null
  const T* d_bias;    // [channels], or null
  T* q[2];            // [numel] each, or null
  uint8_t* bytes[2];  // [numel] each: quantised gates, stored in q's place
  int64_t numel;
  int64_t channels;  // element i has channel i / inner % channels
  int64_t inner;
  Accumulation<T> lo, hi, epsilon;
  Accumulation<T> f[2], f_d[2];  // of each gate: D = f (z + bias) + f_d d
  int branch[2];                 // of each gate: 0 all, 1 where y > 0, 2 where y < 0
  int gates;                     // 1 or 2
  int numerator;                 // 0: v, 1: one, 2: one where v is not 0

  // What a gate asks, as numbers to compare with (Quotient in arithmetic.h).
  RF_INLINE Accumulation<T> shut() const { return numerator == 1 ? kNan<Accumulation<T>> : 0; }
  RF_INLINE Accumulation<T> sign(int gate) const { return branch[gate] == 2 ? -1 : 1; }
  RF_INLINE Accumulation<T> least(int gate) const { return branch[gate] == 0 ? 1 : -kInfinity<Accumulation<T>>; }
};

}  // namespace reluxfast
