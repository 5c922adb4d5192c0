// Vec<A>, Mask<A> and Taps<A> over the compiler's vector types of RF_VECTOR_BYTES bytes; included per instruction set.

namespace reluxfast {
namespace RF_ISA {

template <class A>
struct LaneInt {
  using type = int32_t;
};
template <>
struct LaneInt<double> {
  using type = int64_t;
};

template <class A>
struct Mask {
  typedef typename LaneInt<A>::type Register __attribute__((vector_size(RF_VECTOR_BYTES)));
  Register lanes;  // -1 where true, else 0
};

template <class A>
struct Vec {
  static constexpr int width = RF_VECTOR_BYTES / sizeof(A);
  typedef A Register __attribute__((vector_size(RF_VECTOR_BYTES)));
  Register lanes;
  static RF_INLINE Vec broadcast(A value) { return {value - Register{}}; }
};

// Bytes, such as window tap offsets, one per lane.
template <class A>
struct Taps {
  typename Mask<A>::Register lanes;
  static RF_INLINE Taps broadcast(int tap) { return {tap - typename Mask<A>::Register{}}; }
};

template <class A>
RF_INLINE Vec<A> operator+(Vec<A> a, Vec<A> b) {
  return {a.lanes + b.lanes};
}
template <class A>
RF_INLINE Vec<A> operator*(Vec<A> a, Vec<A> b) {
  return {a.lanes * b.lanes};
}
template <class A>
RF_INLINE Vec<A> operator/(Vec<A> a, Vec<A> b) {
  return {a.lanes / b.lanes};
}

// a b + c, rounded once where the machine has an instruction for it.
template <class A>
RF_INLINE Vec<A> multiply_add(Vec<A> a, Vec<A> b, Vec<A> c) {
#if RF_X86 && RF_VECTOR_BYTES == 32
  using Register = typename Vec<A>::Register;
  if constexpr (sizeof(A) == 4) return {(Register)_mm256_fmadd_ps((__m256)a.lanes, (__m256)b.lanes, (__m256)c.lanes)};
  return {(Register)_mm256_fmadd_pd((__m256d)a.lanes, (__m256d)b.lanes, (__m256d)c.lanes)};
#else
  return a * b + c;
#endif
}

template <class A>
RF_INLINE Mask<A> operator<(Vec<A> a, Vec<A> b) {
  return {a.lanes < b.lanes};
}
template <class A>
RF_INLINE Mask<A> operator>(Vec<A> a, Vec<A> b) {
  return {a.lanes > b.lanes};
}
template <class A>
RF_INLINE Mask<A> operator>=(Vec<A> a, Vec<A> b) {
  return {a.lanes >= b.lanes};
}
template <class A>
RF_INLINE Mask<A> operator!=(Vec<A> a, Vec<A> b) {
  return {a.lanes != b.lanes};
}
template <class A>
RF_INLINE Mask<A> operator&(Mask<A> a, Mask<A> b) {
  return {a.lanes & b.lanes};
}
template <class A>
RF_INLINE Mask<A> operator|(Mask<A> a, Mask<A> b) {
  return {a.lanes | b.lanes};
}
template <class A>
RF_INLINE Vec<A> select(Mask<A> mask, Vec<A> yes, Vec<A> no) {
  return {mask.lanes ? yes.lanes : no.lanes};
}
template <class A>
RF_INLINE Taps<A> select(Mask<A> mask, Taps<A> yes, Taps<A> no) {
  return {mask.lanes ? yes.lanes : no.lanes};
}

template <class A>
RF_INLINE Vec<A> larger(Vec<A> a, Vec<A> b) {
  return {a.lanes > b.lanes ? a.lanes : b.lanes};
}
template <class A>
RF_INLINE Vec<A> smaller(Vec<A> a, Vec<A> b) {
  return {a.lanes < b.lanes ? a.lanes : b.lanes};
}

// Bit k of the result is lane k.
template <class A>
RF_INLINE uint32_t to_bits(Mask<A> mask) {
#if RF_X86 && RF_VECTOR_BYTES == 32
  if constexpr (sizeof(A) == 4) return static_cast<uint32_t>(_mm256_movemask_ps((__m256)mask.lanes));
  return static_cast<uint32_t>(_mm256_movemask_pd((__m256d)mask.lanes));
#elif RF_X86
  if constexpr (sizeof(A) == 4) return static_cast<uint32_t>(_mm_movemask_ps((__m128)mask.lanes));
  return static_cast<uint32_t>(_mm_movemask_pd((__m128d)mask.lanes));
#else
  uint32_t bits = 0;
  for (int k = 0; k < Vec<A>::width; ++k) bits |= static_cast<uint32_t>(mask.lanes[k] & 1) << k;
  return bits;
#endif
}

// Lanes from bits first .. first + width - 1 of a word of packed bits; first is a multiple of the width.
template <class A>
RF_INLINE Mask<A> load_mask(const uint8_t* word, int first) {
  constexpr int width = Vec<A>::width;
  const int bits = (word[first / 8] >> (first % 8)) & ((1 << width) - 1);
  typename Mask<A>::Register lane_bit;
  for (int k = 0; k < width; ++k) lane_bit[k] = 1 << k;
  const typename Mask<A>::Register all = static_cast<typename LaneInt<A>::type>(bits) - typename Mask<A>::Register{};
  return {(all & lane_bit) == lane_bit};
}

template <class T>
RF_INLINE Vec<Accumulation<T>> load(const T* from) {
  Vec<Accumulation<T>> v;
  if constexpr (sizeof(T) == sizeof(Accumulation<T>)) {
    memcpy(&v.lanes, from, sizeof v.lanes);
  } else {
    for (int k = 0; k < v.width; ++k) v.lanes[k] = widen(from[k]);
  }
  return v;
}

template <class T>
RF_INLINE void store(T* to, Vec<Accumulation<T>> v) {
  if constexpr (sizeof(T) == sizeof(Accumulation<T>)) {
    memcpy(to, &v.lanes, sizeof v.lanes);
  } else {
    for (int k = 0; k < v.width; ++k) to[k] = narrow<T>(v.lanes[k]);
  }
}

#if RF_X86 && RF_VECTOR_BYTES == 32
RF_INLINE __m128i low_halves(__m256i words) {
  return _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

template <>
RF_INLINE Vec<float> load<Half>(const Half* from) {
  return {(Vec<float>::Register)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))};
}
template <>
RF_INLINE Vec<float> load<BFloat16>(const BFloat16* from) {
  const __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  return {(Vec<float>::Register)_mm256_slli_epi32(words, 16)};
}
template <>
RF_INLINE void store<Half>(Half* to, Vec<float> v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph((__m256)v.lanes, _MM_FROUND_TO_NEAREST_INT));
}
template <>
RF_INLINE void store<BFloat16>(BFloat16* to, Vec<float> v) {
  const __m256i bits = (__m256i)v.lanes;
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i nan = (__m256i)_mm256_cmp_ps((__m256)v.lanes, (__m256)v.lanes, _CMP_UNORD_Q);
  const __m256i words = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), nan);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), low_halves(words));
}
#endif

// Elements 0, 2, 4 ...; reads 2 * width elements.
template <class T>
RF_INLINE Vec<Accumulation<T>> load_even(const T* from) {
  using A = Accumulation<T>;
  constexpr int width = Vec<A>::width;
  const Vec<A> low = load(from), high = load(from + width);
  typename Mask<A>::Register even;
  for (int k = 0; k < width; ++k) even[k] = 2 * k;
#ifdef __clang__
  Vec<A> v;
  for (int k = 0; k < width; ++k) v.lanes[k] = k < width / 2 ? low.lanes[2 * k] : high.lanes[2 * k - width];
  return v;
#else
  return {__builtin_shuffle(low.lanes, high.lanes, even)};
#endif
}

template <class A>
RF_INLINE void store_bytes(uint8_t* to, Taps<A> taps) {
#if RF_X86 && RF_VECTOR_BYTES == 32
  if constexpr (sizeof(A) == 4) {
    const __m128i halves = low_halves((__m256i)taps.lanes);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(halves, halves));
    return;
  }
#endif
  for (int k = 0; k < Vec<A>::width; ++k) to[k] = static_cast<uint8_t>(taps.lanes[k]);
}

// Lanes between 0 and 255, their fractions cut off.
template <class A>
RF_INLINE Taps<A> truncated(Vec<A> v) {
  return {__builtin_convertvector(v.lanes, typename Mask<A>::Register)};
}

// Bytes as numbers.
template <class A>
RF_INLINE Vec<A> load_bytes(const uint8_t* from) {
#if RF_X86 && RF_VECTOR_BYTES == 32
  if constexpr (sizeof(A) == 4) {
    const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
    return {(typename Vec<A>::Register)_mm256_cvtepi32_ps(wide)};
  }
#endif
  Vec<A> v;
  for (int k = 0; k < Vec<A>::width; ++k) v.lanes[k] = static_cast<A>(from[k]);
  return v;
}

// Lanes whose byte is `tap`.
template <class A>
RF_INLINE Mask<A> equals(const uint8_t* values, int tap) {
  typename Mask<A>::Register wide;
#if RF_X86 && RF_VECTOR_BYTES == 32
  if constexpr (sizeof(A) == 4) {
    wide = (typename Mask<A>::Register)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(values)));
  } else {
    int four;
    memcpy(&four, values, 4);
    wide = (typename Mask<A>::Register)_mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four));
  }
#else
  for (int k = 0; k < Vec<A>::width; ++k) wide[k] = values[k];
#endif
  return {wide == Taps<A>::broadcast(tap).lanes};
}

}  // namespace RF_ISA
}  // namespace reluxfast
