// The loops of soft_gate_pack.h for one instruction set.

#include "cpu/bias_walk.h"

namespace reluxfast {
namespace RF_ISA {

RF_INLINE float spread(float value, float) { return value; }
RF_INLINE double spread(double value, double) { return value; }
template <class A>
RF_INLINE Vec<A> spread(A value, Vec<A>) {
  return Vec<A>::broadcast(value);
}

// The constants of a call, each in an element or in a register.
template <class T, class V>
struct SoftGateConstants {
  explicit SoftGateConstants(const SoftGatePack<T>& a)
      : lo(of(a.lo)), hi(of(a.hi)), zero(of(0)), one(of(1)), half(of(0.5)), most(of(255)) {
    for (int gate = 0; gate < 2; ++gate) {
      Quotient<V>& q = quotient[gate];
      q.f = of(a.f[gate]);
      q.f_d = of(a.f_d[gate]);
      q.epsilon = of(a.epsilon);
      q.minus_epsilon = of(-a.epsilon);
      q.shut = of(a.shut());
      q.sign = of(a.sign(gate));
      q.least = of(a.least(gate));
      q.zero = zero;
    }
  }

  V lo, hi, zero, one, half, most;
  Quotient<V> quotient[2];

 private:
  using A = Accumulation<T>;
  static RF_INLINE V of(A value) { return spread(value, V{}); }
};

// Elements whose biases are laid out before they are used.
constexpr int64_t kSoftGateBlock = 16 * kWord;

// Elements begin .. begin + count - 1, with their biases, or null.
template <class A>
struct SoftGateBlock {
  int64_t begin, count;
  const A *bias, *d_bias;
};

// kBelow: there is a d. kReciprocal: the numerator is one. kBranch: a gate has a branch.
template <class T, bool kBelow, bool kTwo, bool kBytes, bool kReciprocal, bool kBranch>
void soft_gate_pack_loop(const SoftGatePack<T>& a, const SoftGateBlock<Accumulation<T>>& block) {
  using A = Accumulation<T>;
  using V = Vec<A>;
  // Copies that nothing can alias stay in registers: stores of bytes may alias anything else.
  const int64_t begin = block.begin, count = block.count;
  const A *bias = block.bias, *d_bias = block.d_bias;
  const T *z = a.z + begin, *below = kBelow ? a.d + begin : nullptr;
  const T* residual = a.residual == nullptr ? nullptr : a.residual + begin;
  T* v_out = a.v == nullptr ? nullptr : a.v + begin;
  T* const q_out[2] = {kBytes ? nullptr : a.q[0] + begin, kBytes || !kTwo ? nullptr : a.q[1] + begin};
  uint8_t* const byte_out[2] = {kBytes ? a.bytes[0] + begin : nullptr, kBytes && kTwo ? a.bytes[1] + begin : nullptr};
  const SoftGateConstants<T, V> c(a);
  int64_t k = 0;
  for (; k + V::width <= count; k += V::width) {
    V x = load(z + k), d = c.zero;
    if (bias != nullptr) x = x + load(bias + k);
    V y = x;
    if (residual != nullptr) y = y + load(residual + k);
    if constexpr (kBelow) {
      d = load(below + k);
      if (d_bias != nullptr) d = d + load(d_bias + k);
    }
    const V v = clamp(y, c.lo, c.hi);
    if (v_out != nullptr) store(v_out + k, v);
    for (int gate = 0; gate <= kTwo; ++gate) {
      const V q = c.quotient[gate].template of<kBelow, kBranch>(kReciprocal ? c.one : v, x, y, v, d);
      if constexpr (kBytes) {
        store_bytes(byte_out[gate] + k, truncated(byte_value(q, c.zero, c.half, c.most)));
      } else {
        store(q_out[gate] + k, q);
      }
    }
  }
  if (k == count) return;
  const SoftGateConstants<T, A> s(a);
  for (; k < count; ++k) {
    A x = widen(z[k]), d = 0;
    if (bias != nullptr) x += bias[k];
    A y = x;
    if (residual != nullptr) y += widen(residual[k]);
    if constexpr (kBelow) {
      d = widen(below[k]);
      if (d_bias != nullptr) d += d_bias[k];
    }
    const A v = clamp(y, s.lo, s.hi);
    if (v_out != nullptr) v_out[k] = narrow<T>(v);
    for (int gate = 0; gate <= kTwo; ++gate) {
      const A q = s.quotient[gate].template of<kBelow, kBranch>(kReciprocal ? s.one : v, x, y, v, d);
      if constexpr (kBytes) {
        byte_out[gate][k] = static_cast<uint8_t>(byte_value(q, s.zero, s.half, s.most));
      } else {
        q_out[gate][k] = narrow<T>(q);
      }
    }
  }
}

template <class T>
using SoftGateLoop = void (*)(const SoftGatePack<T>&, const SoftGateBlock<Accumulation<T>>&);

// The loop with the given properties as template arguments.
template <class T, bool... kChosen>
SoftGateLoop<T> choose_loop() {
  return &soft_gate_pack_loop<T, kChosen...>;
}
template <class T, bool... kChosen, class... Rest>
SoftGateLoop<T> choose_loop(bool next, Rest... rest) {
  return next ? choose_loop<T, kChosen..., true>(rest...) : choose_loop<T, kChosen..., false>(rest...);
}

template <class T>
void soft_gate_pack_words(const SoftGatePack<T>& a, const Accumulation<T>* bias, const Accumulation<T>* d_bias,
                          int64_t begin, int64_t end) {
  using A = Accumulation<T>;
  const bool branch = a.branch[0] != 0 || a.branch[1] != 0;
  const auto loop = choose_loop<T>(a.d != nullptr, a.gates == 2, a.bytes[0] != nullptr, a.numerator != 0, branch);
  const int64_t stop = end * kWord < a.numel ? end * kWord : a.numel;
  if (bias == nullptr && d_bias == nullptr) return loop(a, {begin * kWord, stop - begin * kWord, nullptr, nullptr});
  BiasWalk<A> walk(bias, a.channels, a.inner, begin * kWord), d_walk(d_bias, a.channels, a.inner, begin * kWord);
  A biases[kSoftGateBlock], d_biases[kSoftGateBlock];
  for (int64_t i = begin * kWord; i < stop; i += kSoftGateBlock) {
    const int64_t count = stop - i < kSoftGateBlock ? stop - i : kSoftGateBlock;
    for (int64_t k = 0; k < count; k += kWord) {
      if (bias != nullptr) memcpy(biases + k, walk.next(), kWord * sizeof(A));
      if (d_bias != nullptr) memcpy(d_biases + k, d_walk.next(), kWord * sizeof(A));
    }
    loop(a, {i, count, bias == nullptr ? nullptr : biases, d_bias == nullptr ? nullptr : d_biases});
  }
}

}  // namespace RF_ISA
}  // namespace reluxfast
