// The loops of relu_pack.h for one instruction set.

#include "cpu/bias_walk.h"

namespace reluxfast {
namespace RF_ISA {

template <class T, bool kBias, bool kResidual>
void relu_pack_loop(const ReluPack<T>& arguments, const Accumulation<T>* extended, int64_t begin, int64_t end) {
  // A copy that nothing can alias stays in registers: stores of bytes may alias anything else.
  const ReluPack<T> a = arguments;
  using A = Accumulation<T>;
  using V = Vec<A>;
  const V lo = V::broadcast(a.lo), hi = V::broadcast(a.hi);
  BiasWalk<A> walk(extended, a.channels, a.inner, begin * kWord);
  const int64_t whole = a.numel / kWord < end ? a.numel / kWord : end;
  RF_UNROLL(4)
  for (int64_t word = begin; word < whole; ++word) {
    const int64_t i = word * kWord;
    const A* bias = nullptr;
    if constexpr (kBias) bias = walk.next();
    uint32_t bits = 0;
    for (int k = 0; k < kWord; k += V::width) {
      V z = load(a.x + i + k);
      if constexpr (kBias) z = z + load(bias + k);
      if constexpr (kResidual) z = z + load(a.residual + i + k);
      bits |= to_bits(inside(z, lo, hi)) << k;
      store(a.y + i + k, clamp(z, lo, hi));
    }
    if (a.mask != nullptr) store_word(a.mask + 4 * word, bits);
  }
  if (whole < end) {
    const A* bias = nullptr;
    if constexpr (kBias) bias = walk.next();
    uint32_t bits = 0;
    for (int64_t i = whole * kWord, k = 0; i + k < a.numel; ++k) {
      A z = widen(a.x[i + k]);
      if constexpr (kBias) z += bias[k];
      if constexpr (kResidual) z += widen(a.residual[i + k]);
      bits |= static_cast<uint32_t>(inside(z, a.lo, a.hi)) << k;
      a.y[i + k] = narrow<T>(clamp(z, a.lo, a.hi));
    }
    if (a.mask != nullptr) store_word(a.mask + 4 * whole, bits);
  }
}

template <class T>
void relu_pack_words(const ReluPack<T>& a, const Accumulation<T>* bias, int64_t begin, int64_t end) {
  if (bias == nullptr) {
    a.residual == nullptr ? relu_pack_loop<T, false, false>(a, bias, begin, end)
                          : relu_pack_loop<T, false, true>(a, bias, begin, end);
  } else {
    a.residual == nullptr ? relu_pack_loop<T, true, false>(a, bias, begin, end)
                          : relu_pack_loop<T, true, true>(a, bias, begin, end);
  }
}

}  // namespace RF_ISA
}  // namespace reluxfast
