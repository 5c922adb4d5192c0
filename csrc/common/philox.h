// Philox 4x32-10, random numbers by counting (Salmon et al. 2011).
#pragma once

#include <cstdint>

#include "common/macros.h"

namespace reluxfast {

constexpr int kPhiloxWords = 4, kPhiloxRounds = 10;

struct PhiloxBlock {
  uint32_t word[kPhiloxWords];
};

RF_INLINE PhiloxBlock philox(PhiloxBlock c, uint64_t key) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t first = uint64_t{c.word[0]} * 0xD2511F53u, second = uint64_t{c.word[2]} * 0xCD9E8D57u;
    c = {{static_cast<uint32_t>(second >> 32) ^ c.word[1] ^ k0, static_cast<uint32_t>(second),
          static_cast<uint32_t>(first >> 32) ^ c.word[3] ^ k1, static_cast<uint32_t>(first)}};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

}  // namespace reluxfast
