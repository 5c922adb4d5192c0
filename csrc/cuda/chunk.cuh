// What one thread reads or writes at once: up to sixteen bytes of neighbouring elements.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/dtypes.h"

namespace reluxfast {
namespace cuda {

// Threads of a block, everywhere, and blocks that a multiprocessor has registers for.
constexpr int kThreads = 256, kBlocks = 2;

// Where such chunks may start; what is longer than sixteen bytes is read in several accesses.
template <class T>
constexpr size_t chunk_alignment(int lanes) {
  return lanes * sizeof(T) < 16 ? lanes * sizeof(T) : 16;
}

template <class T, int kLanes>
struct alignas(chunk_alignment<T>(kLanes)) Chunk {
  T lanes[kLanes];
};

// Lanes of a full chunk.
template <class T>
constexpr int kFull = 16 / sizeof(T);

template <class T, int kLanes>
RF_INLINE Chunk<T, kLanes> load(const T* from) {
  return *reinterpret_cast<const Chunk<T, kLanes>*>(from);
}

// Elements at .. at + kLanes - 1 of an array of `count`; zero beyond its end.
template <class T, int kLanes>
RF_INLINE Chunk<T, kLanes> load(const T* array, int64_t at, int64_t count) {
  if (at + kLanes <= count) return load<T, kLanes>(array + at);
  Chunk<T, kLanes> chunk{};
  RF_UNROLL(8)
  for (int k = 0; k < kLanes; ++k) {
    if (at + k < count) chunk.lanes[k] = array[at + k];
  }
  return chunk;
}

template <class T, int kLanes>
RF_INLINE void store(T* array, int64_t at, int64_t count, const Chunk<T, kLanes>& chunk) {
  if (at + kLanes <= count) {
    *reinterpret_cast<Chunk<T, kLanes>*>(array + at) = chunk;
    return;
  }
  RF_UNROLL(8)
  for (int k = 0; k < kLanes; ++k) {
    if (at + k < count) array[at + k] = chunk.lanes[k];
  }
}

// Whether chunks of `lanes` elements may start at the array's multiples of `lanes`; null is no array.
template <class T>
bool aligned(const T* array, int lanes) {
  return reinterpret_cast<uintptr_t>(array) % chunk_alignment<T>(lanes) == 0;
}

}  // namespace cuda
}  // namespace reluxfast
