// Packed fields: element i of width w (1, 2, 4 or 8) occupies bits i*w .. i*w + w - 1, counted from the lowest bit.
#pragma once

#include <cstdint>

#include "common/macros.h"

namespace reluxfast {

// Elements of one mask word; every loop over packed bits starts at a multiple of it.
constexpr int64_t kWord = 32;

// Bytes of `count` fields of `width` bits, padded to whole 32-bit words.
RF_INLINE int64_t packed_bytes(int64_t count, int64_t width) { return (count * width + 31) / 32 * 4; }

// Bits that hold the offset of one of `taps` (1..256) window taps.
RF_INLINE int field_width(int64_t taps) { return taps <= 4 ? 2 : taps <= 16 ? 4 : 8; }

// Stores a word as little-endian bytes, which is how bit i lands in byte i >> 3.
RF_INLINE void store_word(uint8_t* bytes, uint32_t word) {
  for (int k = 0; k < 4; ++k) bytes[k] = static_cast<uint8_t>(word >> (8 * k));
}

RF_INLINE uint32_t load_word(const uint8_t* bytes) {
  uint32_t word = 0;
  for (int k = 0; k < 4; ++k) word |= uint32_t{bytes[k]} << (8 * k);
  return word;
}

// Eight bytes, each below 2^width, squeezed to the 8 * width low bits, and back. Byte j is bits 8j .. 8j + 7.
RF_INLINE uint64_t squeeze8(uint64_t bytes, int width) {
  if (width == 8) return bytes;
  if (width == 4) {
    bytes = (bytes | (bytes >> 4)) & 0x00ff00ff00ff00ffu;
    bytes = (bytes | (bytes >> 8)) & 0x0000ffff0000ffffu;
    return (bytes | (bytes >> 16)) & 0xffffffffu;
  }
  bytes = (bytes | (bytes >> 6)) & 0x000f000f000f000fu;
  bytes = (bytes | (bytes >> 12)) & 0x000000ff000000ffu;
  return (bytes | (bytes >> 24)) & 0xffffu;
}

RF_INLINE uint64_t spread8(uint64_t fields, int width) {
  if (width == 8) return fields;
  if (width == 4) {
    fields = (fields | (fields << 16)) & 0x0000ffff0000ffffu;
    fields = (fields | (fields << 8)) & 0x00ff00ff00ff00ffu;
    return (fields | (fields << 4)) & 0x0f0f0f0f0f0f0f0fu;
  }
  fields = (fields | (fields << 24)) & 0x000000ff000000ffu;
  fields = (fields | (fields << 12)) & 0x000f000f000f000fu;
  return (fields | (fields << 6)) & 0x0303030303030303u;
}

// Eight bits spread to eight bytes: 0xff where the bit is 0, else 0.
RF_INLINE uint64_t dropped8(uint8_t bits) {
  const uint64_t set = (bits * 0x0101010101010101u) & 0x8040201008040201u;
  const uint64_t kept = (((set + 0x7f7f7f7f7f7f7f7fu) | set) >> 7) & 0x0101010101010101u;
  return ~(kept * 0xffu);
}

}  // namespace reluxfast
