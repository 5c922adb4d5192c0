// The loops of gate.h for one instruction set.

namespace reluxfast {
namespace RF_ISA {

template <class T, int kMode, bool kSkip>
void gate_loop(const Gate<T>& arguments, int64_t begin, int64_t end) {
  const Gate<T> a = arguments;
  using A = Accumulation<T>;
  using V = Vec<A>;
  const V zero = V::broadcast(0);
  const int64_t words = a.words_per_repeat(), whole = a.period / kWord;
  int64_t repeat = begin / words, word = begin % words;
  for (int64_t n = begin; n < end; ++repeat, word = 0) {
    const int64_t offset = repeat * a.period, stop = word + (end - n) < words ? word + (end - n) : words;
    const int64_t whole_stop = stop < whole ? stop : whole;
    n += stop - word;
    RF_UNROLL(4)
    for (; word < whole_stop; ++word) {
      const int64_t i = offset + word * kWord;
      for (int k = 0; k < kWord; k += V::width) {
        V s = load(a.g + i + k);
        if constexpr (kSkip) s = s + load(a.skip + i + k);
        if constexpr (kMode == 1) s = select(load_mask<A>(a.mask + 4 * word, k), s, zero);
        if constexpr (kMode == 2) s = select(s > zero, s, zero);
        if constexpr (kMode == 3) s = select(load_mask<A>(a.mask + 4 * word, k) & (s > zero), s, zero);
        store(a.out + i + k, s);
      }
    }
    if (word < stop) {
      const uint32_t bits = kMode & 1 ? load_word(a.mask + 4 * word) : 0;
      for (int64_t k = 0; word * kWord + k < a.period; ++k) {
        const int64_t i = offset + word * kWord + k;
        A s = widen(a.g[i]);
        if constexpr (kSkip) s += widen(a.skip[i]);
        bool keep = true;
        if constexpr (kMode & 1) keep = (bits >> k) & 1;
        if constexpr (kMode & 2) keep = keep && s > 0;
        a.out[i] = narrow<T>(select(keep, s, A{0}));
      }
    }
  }
}

template <class T, int kMode>
void gate_mode(const Gate<T>& a, int64_t begin, int64_t end) {
  a.skip == nullptr ? gate_loop<T, kMode, false>(a, begin, end) : gate_loop<T, kMode, true>(a, begin, end);
}

template <class T>
void gate_words(const Gate<T>& a, int64_t begin, int64_t end) {
  switch (a.mode) {
    case 0:
      return gate_mode<T, 0>(a, begin, end);
    case 1:
      return gate_mode<T, 1>(a, begin, end);
    case 2:
      return gate_mode<T, 2>(a, begin, end);
    case 3:
      return gate_mode<T, 3>(a, begin, end);
  }
}

}  // namespace RF_ISA
}  // namespace reluxfast
