// A bias per channel beside a dense array.
#pragma once

#include <cstdint>

#include "common/divisor.h"
#include "cuda/chunk.cuh"

namespace reluxfast {
namespace cuda {

// `lanes`: channels are innermost and come in whole chunks, so that a chunk of bias is loaded like one of x.
enum class Bias { none, lanes, any };

// Which channel an element has: i / inner % count.
struct Channels {
  Channels(int64_t count, int64_t inner) : count(count), inner(inner), by_count(count), by_inner(inner) {}

  static bool in_chunks(int64_t count, int64_t inner, int lanes) { return inner == 1 && count % lanes == 0; }

  int64_t count, inner;
  Divisor by_count, by_inner;
};

// The bias of elements at .. at + kLanes - 1.
template <class T, int kLanes, Bias kBias>
RF_INLINE Chunk<T, kLanes> load_bias(const T* values, const Channels& channels, int64_t at) {
  int64_t channel = at;
  if constexpr (kBias == Bias::lanes) return load<T, kLanes>(values + channels.by_count.take_remainder(channel));
  int64_t offset = channels.by_inner.take_remainder(channel), rest = channel;
  channel = channels.by_count.take_remainder(rest);
  Chunk<T, kLanes> bias;
  const T first = values[channel];
  if (offset + kLanes <= channels.inner) {
    RF_UNROLL(8)
    for (int k = 0; k < kLanes; ++k) bias.lanes[k] = first;
    return bias;
  }
  RF_UNROLL(8)
  for (int k = 0; k < kLanes; ++k) {
    bias.lanes[k] = values[channel];
    if (++offset == channels.inner) {
      offset = 0;
      channel = channel + 1 == channels.count ? 0 : channel + 1;
    }
  }
  return bias;
}

}  // namespace cuda
}  // namespace reluxfast
