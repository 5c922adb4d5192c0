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
      : lo(of(a.lo)), hi(of(a.hi)), zero(of(0)), half(of(0.5)), most(of(255)) {
    for (int k = 0; k < 2; ++k) {
      quotient[k] = {of(a.f[k]), of(a.f_d[k]), of(a.epsilon), of(-a.epsilon), zero, of(1), a.branch[k], a.numerator};
    }
  }

  V lo, hi, zero, half, most;
  Quotient<V> quotient[2];

 private:
  static RF_INLINE V of(Accumulation<T> value) { return spread(value, V{}); }
};

template <class T, bool kBelow, bool kBytes, int kGates>
void soft_gate_pack_loop(const SoftGatePack<T>& arguments, const Accumulation<T>* bias, const Accumulation<T>* d_bias,
                         int64_t begin, int64_t end) {
  // A copy that nothing can alias stays in registers: stores of bytes may alias anything else.
  const SoftGatePack<T> a = arguments;
  using A = Accumulation<T>;
  using V = Vec<A>;
  const SoftGateConstants<T, V> c(a);
  BiasWalk<A> walk(bias, a.channels, a.inner, begin * kWord), d_walk(d_bias, a.channels, a.inner, begin * kWord);
  const int64_t whole = a.numel / kWord < end ? a.numel / kWord : end;
  for (int64_t word = begin; word < whole; ++word) {
    const int64_t i = word * kWord;
    const A* biases = bias == nullptr ? nullptr : walk.next();
    const A* d_biases = d_bias == nullptr ? nullptr : d_walk.next();
    for (int k = 0; k < kWord; k += V::width) {
      V y = load(a.z + i + k);
      if (bias != nullptr) y = y + load(biases + k);
      if (a.residual != nullptr) y = y + load(a.residual + i + k);
      V d = c.zero;
      if constexpr (kBelow) {
        d = load(a.d + i + k);
        if (d_bias != nullptr) d = d + load(d_biases + k);
      }
      const V v = clamp(y, c.lo, c.hi);
      if (a.v != nullptr) store(a.v + i + k, v);
      for (int gate = 0; gate < kGates; ++gate) {
        const V q = c.quotient[gate].template of<kBelow>(y, v, d);
        if constexpr (kBytes) {
          store_bytes(a.bytes[gate] + i + k, truncated(byte_value(q, c.zero, c.half, c.most)));
        } else {
          store(a.q[gate] + i + k, q);
        }
      }
    }
  }
  if (whole < end) {
    const SoftGateConstants<T, A> s(a);
    const A* biases = bias == nullptr ? nullptr : walk.next();
    const A* d_biases = d_bias == nullptr ? nullptr : d_walk.next();
    for (int64_t i = whole * kWord, k = 0; i + k < a.numel; ++k) {
      A y = widen(a.z[i + k]), d = 0;
      if (bias != nullptr) y += biases[k];
      if (a.residual != nullptr) y += widen(a.residual[i + k]);
      if constexpr (kBelow) {
        d = widen(a.d[i + k]);
        if (d_bias != nullptr) d += d_biases[k];
      }
      const A v = clamp(y, s.lo, s.hi);
      if (a.v != nullptr) a.v[i + k] = narrow<T>(v);
      for (int gate = 0; gate < kGates; ++gate) {
        const A q = s.quotient[gate].template of<kBelow>(y, v, d);
        if constexpr (kBytes) {
          a.bytes[gate][i + k] = static_cast<uint8_t>(byte_value(q, s.zero, s.half, s.most));
        } else {
          a.q[gate][i + k] = narrow<T>(q);
        }
      }
    }
  }
}

template <class T, bool kBelow, bool kBytes>
void soft_gate_pack_gates(const SoftGatePack<T>& a, const Accumulation<T>* bias, const Accumulation<T>* d_bias,
                          int64_t begin, int64_t end) {
  a.gates == 1 ? soft_gate_pack_loop<T, kBelow, kBytes, 1>(a, bias, d_bias, begin, end)
               : soft_gate_pack_loop<T, kBelow, kBytes, 2>(a, bias, d_bias, begin, end);
}

template <class T>
void soft_gate_pack_words(const SoftGatePack<T>& a, const Accumulation<T>* bias, const Accumulation<T>* d_bias,
                          int64_t begin, int64_t end) {
  if (a.d == nullptr) {
    a.q[0] == nullptr ? soft_gate_pack_gates<T, false, true>(a, bias, d_bias, begin, end)
                      : soft_gate_pack_gates<T, false, false>(a, bias, d_bias, begin, end);
  } else {
    a.q[0] == nullptr ? soft_gate_pack_gates<T, true, true>(a, bias, d_bias, begin, end)
                      : soft_gate_pack_gates<T, true, false>(a, bias, d_bias, begin, end);
  }
}

}  // namespace RF_ISA
}  // namespace reluxfast
