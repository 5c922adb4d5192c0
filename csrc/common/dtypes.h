// Storage types and the type each is computed in: float32, and float64 for float64.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/macros.h"

namespace reluxfast {

// IEEE binary16.
struct Half {
  uint16_t bits;
};

// The upper half of an IEEE binary32.
struct BFloat16 {
  uint16_t bits;
};

template <class T>
struct AccumulationOf {
  using type = float;
};
template <>
struct AccumulationOf<double> {
  using type = double;
};
template <class T>
using Accumulation = typename AccumulationOf<T>::type;

RF_INLINE uint32_t float_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

RF_INLINE float float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

RF_INLINE float widen(float x) { return x; }
RF_INLINE double widen(double x) { return x; }
RF_INLINE float widen(BFloat16 x) { return float_of_bits(uint32_t{x.bits} << 16); }

// The device's own conversions give the same bits as the arithmetic below, but for the payload of a NaN.
RF_INLINE float widen(Half x) {
#if defined(__CUDA_ARCH__)
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
  return wide;
#else
  const uint32_t sign = uint32_t{x.bits & 0x8000u} << 16, exponent = x.bits & 0x7c00u, fraction = x.bits & 0x03ffu;
  if (exponent == 0) {  // zero or subnormal: the fraction counts steps of 2^-24
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return float_of_bits(float_bits(magnitude) | sign);
  }
  const uint32_t rebias = exponent == 0x7c00u ? 0xffu - 0x1fu : 127u - 15u;
  return float_of_bits(sign | (((exponent >> 10) + rebias) << 23) | (fraction << 13));
#endif
}

// narrow<T>(x): x rounded to T, ties to even; NaN stays NaN.
template <class T>
RF_INLINE T narrow(Accumulation<T> x) {
  return x;
}

template <>
RF_INLINE BFloat16 narrow<BFloat16>(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint16_t narrow_bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(narrow_bits) : "f"(x));
  return BFloat16{narrow_bits};
#else
  const uint32_t bits = float_bits(x);
  if (x != x) return BFloat16{0x7fc0};
  return BFloat16{static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
#endif
}

template <>
RF_INLINE Half narrow<Half>(float x) {
#if defined(__CUDA_ARCH__)
  uint16_t narrow_bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow_bits) : "f"(x));
  return Half{narrow_bits};
#else
  const uint32_t bits = float_bits(x), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u;
  } else if (magnitude >= 0x477ff000u) {  // 65520 and above rounds to infinity
    half = 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 leaves the rounded count of 2^-24 in the low bits
    half = float_bits(float_of_bits(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    half = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - ((127u - 15u) << 23)) >> 13;
  }
  return Half{static_cast<uint16_t>(half | sign)};
#endif
}

}  // namespace reluxfast
