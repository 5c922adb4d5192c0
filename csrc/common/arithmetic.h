// The arithmetic of the ops on one element, or on one register of elements: T is float, double or a Vec of them.
// No include guard: each instruction set of cpu/ includes it in a namespace of its own, named by RF_ISA; scalar.h is
// for everybody else.

#include "common/macros.h"

namespace reluxfast {
namespace RF_ISA {

RF_INLINE float select(bool condition, float yes, float no) { return condition ? yes : no; }
RF_INLINE double select(bool condition, double yes, double no) { return condition ? yes : no; }

// The larger and the smaller of two; b where they are equal or either is NaN.
RF_INLINE float larger(float a, float b) { return a > b ? a : b; }
RF_INLINE double larger(double a, double b) { return a > b ? a : b; }
RF_INLINE float smaller(float a, float b) { return a < b ? a : b; }
RF_INLINE double smaller(double a, double b) { return a < b ? a : b; }

// min(max(z, lo), hi), NaN stays NaN.
template <class T>
RF_INLINE T clamp(T z, T lo, T hi) {
  return smaller(hi, larger(lo, z));
}

// The derivative's bit: lo < z < hi.
template <class T>
RF_INLINE auto inside(T z, T lo, T hi) {
  return (lo < z) & (z < hi);
}

// Whether a window's next value becomes its maximum: it is larger, or it is NaN.
template <class T>
RF_INLINE auto takes(T value, T best) {
  return (value > best) | (value != value);
}

// The gate n / s(D), D = f x + f_d d, of one element or register, exactly 0 where it is shut; y is x and a residual.
template <class T>
struct Quotient {
  T f, f_d, epsilon, minus_epsilon;
  T shut;         // 0: shut where v is 0; NaN: nowhere
  T sign, least;  // with a branch: shut where not max(sign y, least) > 0
  T zero;

  template <bool kBelow, bool kBranch>
  RF_INLINE T of(T n, T x, T y, T v, T d) const {
    T full = f * x;
    if constexpr (kBelow) full = full + f_d * d;
    const T s = full + select(full >= zero, epsilon, minus_epsilon);
    auto open = (s != zero) & (v != shut);
    if constexpr (kBranch) open = open & (larger(sign * y, least) > zero);
    return select(open, n / s, zero);
  }
};

// What truncation turns into the byte of a gate between 0 and 1; NaN becomes 0.
template <class T>
RF_INLINE T byte_value(T q, T zero, T half, T most) {
  return smaller(most, larger(most * q + half, zero));
}

}  // namespace RF_ISA
}  // namespace reluxfast
