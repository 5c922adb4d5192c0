// Division by a number known before the kernel starts: a multiplication and a shift.
#pragma once

#include <cstdint>

#include "common/macros.h"

namespace reluxfast {

// The upper half of a 128-bit product.
RF_INLINE uint64_t multiply_high(uint64_t a, uint64_t b) {
#if defined(__CUDA_ARCH__)
  return __umul64hi(a, b);
#else
  return static_cast<uint64_t>((static_cast<unsigned __int128>(a) * b) >> 64);
#endif
}

// Granlund and Montgomery (1994), figure 4.1, for 64 bits; the sum cannot overflow for numbers below 2^63.
class Divisor {
 public:
  explicit Divisor(int64_t divisor) : divisor_(divisor) {
    while (shift_ < 63 && (uint64_t{1} << shift_) < static_cast<uint64_t>(divisor)) ++shift_;
    const unsigned __int128 excess = (uint64_t{1} << shift_) - static_cast<uint64_t>(divisor);
    factor_ = static_cast<uint64_t>((excess << 64) / static_cast<uint64_t>(divisor)) + 1;
  }

  // n / divisor for 0 <= n.
  RF_INLINE int64_t quotient(int64_t n) const {
    const uint64_t dividend = static_cast<uint64_t>(n);
    return static_cast<int64_t>((multiply_high(factor_, dividend) + dividend) >> shift_);
  }

  // n modulo the divisor; n becomes the quotient.
  RF_INLINE int64_t take_remainder(int64_t& n) const {
    const int64_t whole = quotient(n), rest = n - whole * divisor_;
    n = whole;
    return rest;
  }

 private:
  int64_t divisor_;
  uint64_t factor_;
  int shift_ = 0;
};

}  // namespace reluxfast
