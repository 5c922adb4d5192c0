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

}  // namespace RF_ISA
}  // namespace reluxfast
