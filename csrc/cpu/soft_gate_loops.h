// The loops of soft_gate.h for one instruction set.

namespace reluxfast {
namespace RF_ISA {

template <class T, bool kBytes, bool kSkip>
void soft_gate_loop(const SoftGate<T>& arguments, int64_t begin, int64_t end) {
  const SoftGate<T> a = arguments;
  using A = Accumulation<T>;
  using V = Vec<A>;
  const V zero = V::broadcast(0), unit = V::broadcast(kByteUnit<A>);
  const int64_t words = a.words_per_repeat(), whole = a.period / kWord;
  int64_t repeat = begin / words, word = begin % words;
  for (int64_t n = begin; n < end; ++repeat, word = 0) {
    const int64_t offset = repeat * a.period, stop = word + (end - n) < words ? word + (end - n) : words;
    const int64_t whole_stop = stop < whole ? stop : whole;
    n += stop - word;
    RF_UNROLL(4)
    for (; word < whole_stop; ++word) {
      const int64_t at = word * kWord, i = offset + at;
      for (int k = 0; k < kWord; k += V::width) {
        V s = load(a.g + i + k);
        if constexpr (kSkip) s = s + load(a.skip + i + k);
        V w;
        if constexpr (kBytes) {
          w = load_bytes<A>(a.bytes + at + k) * unit;
        } else {
          w = load(a.q + at + k);
        }
        store(a.out + i + k, select(w != zero, s * w, zero));
      }
    }
    if (word < stop) {
      for (int64_t at = word * kWord; at < a.period; ++at) {
        const int64_t i = offset + at;
        A s = widen(a.g[i]), w;
        if constexpr (kSkip) s += widen(a.skip[i]);
        if constexpr (kBytes) {
          w = static_cast<A>(a.bytes[at]) * kByteUnit<A>;
        } else {
          w = widen(a.q[at]);
        }
        a.out[i] = narrow<T>(select(w != 0, s * w, A{0}));
      }
    }
  }
}

template <class T, bool kBytes>
void soft_gate_skip(const SoftGate<T>& a, int64_t begin, int64_t end) {
  a.skip == nullptr ? soft_gate_loop<T, kBytes, false>(a, begin, end) : soft_gate_loop<T, kBytes, true>(a, begin, end);
}

template <class T>
void soft_gate_words(const SoftGate<T>& a, int64_t begin, int64_t end) {
  a.q == nullptr ? soft_gate_skip<T, true>(a, begin, end) : soft_gate_skip<T, false>(a, begin, end);
}

}  // namespace RF_ISA
}  // namespace reluxfast
