// Vec<A>, Mask<A> and Taps<A> over 512-bit registers and mask registers; the names of simd_vector.h.

namespace reluxfast {
namespace RF_ISA {

template <class A>
struct Mask {
  uint32_t bits;  // bit k is lane k
};

template <class A>
struct Vec;

template <>
struct Vec<float> {
  static constexpr int width = 16;
  __m512 lanes;
  static RF_INLINE Vec broadcast(float value) { return {_mm512_set1_ps(value)}; }
};

template <>
struct Vec<double> {
  static constexpr int width = 8;
  __m512d lanes;
  static RF_INLINE Vec broadcast(double value) { return {_mm512_set1_pd(value)}; }
};

// Bytes, such as window tap offsets, one per lane.
template <class A>
struct Taps {
  __m128i lanes;
  static RF_INLINE Taps broadcast(int tap) { return {_mm_set1_epi8(static_cast<char>(tap))}; }
};

RF_INLINE Vec<float> operator+(Vec<float> a, Vec<float> b) { return {_mm512_add_ps(a.lanes, b.lanes)}; }
RF_INLINE Vec<double> operator+(Vec<double> a, Vec<double> b) { return {_mm512_add_pd(a.lanes, b.lanes)}; }
RF_INLINE Vec<float> operator*(Vec<float> a, Vec<float> b) { return {_mm512_mul_ps(a.lanes, b.lanes)}; }
RF_INLINE Vec<double> operator*(Vec<double> a, Vec<double> b) { return {_mm512_mul_pd(a.lanes, b.lanes)}; }
RF_INLINE Vec<float> operator/(Vec<float> a, Vec<float> b) { return {_mm512_div_ps(a.lanes, b.lanes)}; }
RF_INLINE Vec<double> operator/(Vec<double> a, Vec<double> b) { return {_mm512_div_pd(a.lanes, b.lanes)}; }

// a b + c, rounded once.
RF_INLINE Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> c) {
  return {_mm512_fmadd_ps(a.lanes, b.lanes, c.lanes)};
}
RF_INLINE Vec<double> multiply_add(Vec<double> a, Vec<double> b, Vec<double> c) {
  return {_mm512_fmadd_pd(a.lanes, b.lanes, c.lanes)};
}

RF_INLINE Mask<float> operator<(Vec<float> a, Vec<float> b) {
  return {_mm512_cmp_ps_mask(a.lanes, b.lanes, _CMP_LT_OQ)};
}
RF_INLINE Mask<double> operator<(Vec<double> a, Vec<double> b) {
  return {_mm512_cmp_pd_mask(a.lanes, b.lanes, _CMP_LT_OQ)};
}
RF_INLINE Mask<float> operator>=(Vec<float> a, Vec<float> b) {
  return {_mm512_cmp_ps_mask(a.lanes, b.lanes, _CMP_GE_OQ)};
}
RF_INLINE Mask<double> operator>=(Vec<double> a, Vec<double> b) {
  return {_mm512_cmp_pd_mask(a.lanes, b.lanes, _CMP_GE_OQ)};
}
RF_INLINE Mask<float> operator!=(Vec<float> a, Vec<float> b) {
  return {_mm512_cmp_ps_mask(a.lanes, b.lanes, _CMP_NEQ_UQ)};
}
RF_INLINE Mask<double> operator!=(Vec<double> a, Vec<double> b) {
  return {_mm512_cmp_pd_mask(a.lanes, b.lanes, _CMP_NEQ_UQ)};
}
template <class A>
RF_INLINE Mask<A> operator>(Vec<A> a, Vec<A> b) {
  return b < a;
}
template <class A>
RF_INLINE Mask<A> operator&(Mask<A> a, Mask<A> b) {
  return {a.bits & b.bits};
}
template <class A>
RF_INLINE Mask<A> operator|(Mask<A> a, Mask<A> b) {
  return {a.bits | b.bits};
}
RF_INLINE Vec<float> select(Mask<float> mask, Vec<float> yes, Vec<float> no) {
  return {_mm512_mask_blend_ps(static_cast<__mmask16>(mask.bits), no.lanes, yes.lanes)};
}
RF_INLINE Vec<double> select(Mask<double> mask, Vec<double> yes, Vec<double> no) {
  return {_mm512_mask_blend_pd(static_cast<__mmask8>(mask.bits), no.lanes, yes.lanes)};
}
template <class A>
RF_INLINE Taps<A> select(Mask<A> mask, Taps<A> yes, Taps<A> no) {
  return {_mm_mask_blend_epi8(static_cast<__mmask16>(mask.bits), no.lanes, yes.lanes)};
}

RF_INLINE Vec<float> larger(Vec<float> a, Vec<float> b) { return {_mm512_max_ps(a.lanes, b.lanes)}; }
RF_INLINE Vec<double> larger(Vec<double> a, Vec<double> b) { return {_mm512_max_pd(a.lanes, b.lanes)}; }
RF_INLINE Vec<float> smaller(Vec<float> a, Vec<float> b) { return {_mm512_min_ps(a.lanes, b.lanes)}; }
RF_INLINE Vec<double> smaller(Vec<double> a, Vec<double> b) { return {_mm512_min_pd(a.lanes, b.lanes)}; }

template <class A>
RF_INLINE uint32_t to_bits(Mask<A> mask) {
  return mask.bits;
}

// Lanes from bits first .. first + width - 1 of a word of packed bits; first is a multiple of the width.
template <class A>
RF_INLINE Mask<A> load_mask(const uint8_t* word, int first) {
  if constexpr (Vec<A>::width == 16) {
    uint16_t bits;
    memcpy(&bits, word + first / 8, 2);
    return {bits};
  } else {
    return {word[first / 8]};
  }
}

RF_INLINE Vec<float> load(const float* from) { return {_mm512_loadu_ps(from)}; }
RF_INLINE Vec<double> load(const double* from) { return {_mm512_loadu_pd(from)}; }
RF_INLINE Vec<float> load(const Half* from) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)))};
}
RF_INLINE Vec<float> load(const BFloat16* from) {
  const __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(words, 16))};
}

RF_INLINE void store(float* to, Vec<float> v) { _mm512_storeu_ps(to, v.lanes); }
RF_INLINE void store(double* to, Vec<double> v) { _mm512_storeu_pd(to, v.lanes); }
RF_INLINE void store(Half* to, Vec<float> v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(v.lanes, _MM_FROUND_TO_NEAREST_INT));
}
RF_INLINE void store(BFloat16* to, Vec<float> v) {
  const __m512i bits = _mm512_castps_si512(v.lanes);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(v.lanes, v.lanes, _CMP_UNORD_Q);
  const __m512i words = _mm512_mask_blend_epi32(nan, rounded, _mm512_set1_epi32(0x7fc0));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(words));
}

// Elements 0, 2, 4 ...; reads 2 * width elements.
template <class T>
RF_INLINE Vec<Accumulation<T>> load_even(const T* from) {
  using V = Vec<Accumulation<T>>;
  const V low = load(from), high = load(from + V::width);
  if constexpr (V::width == 16) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return {_mm512_permutex2var_ps(low.lanes, even, high.lanes)};
  } else {
    const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    return {_mm512_permutex2var_pd(low.lanes, even, high.lanes)};
  }
}

RF_INLINE void store_bytes(uint8_t* to, Taps<float> taps) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), taps.lanes);
}
RF_INLINE void store_bytes(uint8_t* to, Taps<double> taps) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), taps.lanes);
}

// Lanes between 0 and 255, their fractions cut off.
RF_INLINE Taps<float> truncated(Vec<float> v) { return {_mm512_cvtepi32_epi8(_mm512_cvttps_epi32(v.lanes))}; }
RF_INLINE Taps<double> truncated(Vec<double> v) { return {_mm256_cvtepi32_epi8(_mm512_cvttpd_epi32(v.lanes))}; }

// Bytes as numbers.
template <class A>
RF_INLINE Vec<A> load_bytes(const uint8_t* from) {
  if constexpr (Vec<A>::width == 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))};
  } else {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
    return {_mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(bytes))};
  }
}

// Lanes whose byte is `tap`.
template <class A>
RF_INLINE Mask<A> equals(const uint8_t* values, int tap) {
  const __m128i wanted = _mm_set1_epi8(static_cast<char>(tap));
  if constexpr (Vec<A>::width == 16) {
    return {_mm_cmpeq_epi8_mask(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values)), wanted)};
  } else {
    return {_mm_cmpeq_epi8_mask(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(values)), wanted) & 0xffu};
  }
}

}  // namespace RF_ISA
}  // namespace reluxfast
