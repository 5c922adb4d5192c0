// Packed fields in memory order (common/bits.h), written by whole warps and read by single threads.
#pragma once

#include <cstdint>

#include "common/bits.h"

namespace reluxfast {
namespace cuda {

constexpr int kWarp = 32;
constexpr uint32_t kWholeWarp = 0xffffffffu;

// Stores fields at .. at + kLanes - 1 of `count`, each of `width` bits; `fields` holds 0 for those beyond the end.
// All lanes of a warp call it together, lane by lane kLanes further on, the first at a multiple of 32. One lane of
// each word writes it: memory holds little-endian words, in which field i is where common/bits.h wants it.
template <int kLanes>
__device__ __forceinline__ void store_fields(uint8_t* packed, int64_t at, int64_t count, int width, uint64_t fields) {
  const int bits = kLanes * width, lane = static_cast<int>(threadIdx.x) % kWarp;
  uint32_t* word = reinterpret_cast<uint32_t*>(packed + at * width / 8);
  if constexpr (kLanes == 8) {
    if (bits == 64) {
      if (at < count) word[0] = static_cast<uint32_t>(fields);
      if (at + kLanes / 2 < count) word[1] = static_cast<uint32_t>(fields >> 32);
      return;
    }
  }
  const int writers = 32 / bits;  // lanes that share a word
  uint32_t bits_of_word;
  if (bits == 1) {
    bits_of_word = __ballot_sync(kWholeWarp, fields != 0);
  } else {
    bits_of_word = static_cast<uint32_t>(fields) << (lane % writers * bits);
    for (int distance = 1; distance < writers; distance *= 2) {
      bits_of_word |= __shfl_xor_sync(kWholeWarp, bits_of_word, distance);
    }
  }
  if (lane % writers == 0 && at < count) *word = bits_of_word;
}

// Fields at .. at + kLanes - 1 in the low bits, whatever lies above them; `at` is a multiple of kLanes, and `packed` is
// aligned to 8 bytes unless kLanes is 1.
template <int kLanes, int kWidth>
RF_INLINE auto load_fields(const uint8_t* packed, int64_t at) {
  constexpr int kBits = kLanes * kWidth;
  const int64_t bit = at * kWidth;
  if constexpr (kBits <= 8) {
    return uint32_t{packed[bit / 8]} >> (bit % 8);
  } else if constexpr (kBits == 16) {
    return uint32_t{*reinterpret_cast<const uint16_t*>(packed + bit / 8)};
  } else if constexpr (kBits == 32) {
    return *reinterpret_cast<const uint32_t*>(packed + bit / 8);
  } else {
    return *reinterpret_cast<const uint64_t*>(packed + bit / 8);
  }
}

}  // namespace cuda
}  // namespace reluxfast
