// Max-pooling with packed winners, and its reverse written as a gather.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/bits.h"
#include "common/dtypes.h"
#include "common/window.h"

namespace reluxfast {

template <class T>
struct PoolPack {
  const T* x;       // [images, in_positions, channels]
  T* y;             // [images, out_positions, channels]
  uint8_t* winner;  // [packed_bytes(numel of y, width)], or null
  uint8_t* mask;    // [packed_bytes(numel of y, 1)], or null
  Pool pool;
  int width;  // bits of a winner
  bool relu;

  RF_INLINE int64_t numel_in() const { return pool.images * pool.in_positions() * pool.channels; }
  RF_INLINE int64_t numel_out() const { return pool.images * pool.out_positions() * pool.channels; }
};

// Elements of y that one unit of work computes; whole words, so that no two units share a packed byte.
constexpr int64_t kPoolChunk = 2048;

// Chunks begin .. end - 1 of y, in memory order.
template <class T>
void pool_pack_chunks(const PoolPack<T>& a, int64_t begin, int64_t end);

template <class T>
struct PoolScatter {
  const T* g;             // [images, out_positions, channels]
  const uint8_t* winner;  // [packed_bytes(period, width)]
  const uint8_t* mask;    // [packed_bytes(period, 1)], or null; only for pools of less than 256 taps
  T* out;                 // [images, in_positions, channels]
  Pool pool;
  int64_t period_images;  // images that winner and mask cover
  int width;              // bits of a winner
  bool positive;          // keep only positive sums

  RF_INLINE int64_t rows() const { return pool.images * pool.depth.size * pool.height.size; }
  RF_INLINE int64_t period() const { return period_images * pool.out_positions() * pool.channels; }
};

// One window along the width that reads an input position, by which tap.
struct Reader {
  int64_t window;
  int tap;
};

// One tap that some row of windows uses on an input row: those windows' gradients, and the taps they chose.
struct RowSource {
  int64_t g;            // index of the windows' row in g
  const uint8_t* taps;  // [width.out, channels]
  int first_tap;        // tap of kernel column 0
};

// What one thread needs besides the arrays, allocated once per range of rows.
template <class T>
struct ScatterSpace {
  explicit ScatterSpace(const Pool& pool);

  std::vector<Reader> readers;         // by input column, in the order of their taps
  std::vector<int64_t> readers_begin;  // [width.size + 1]
  std::vector<RowSource> sources;      // [kernel depth * height]
  std::unique_ptr<uint8_t[]> taps;     // [kernel depth * height, row_capacity]
  std::vector<int64_t> row_of_slot;    // [kernel depth * height], -1 where empty
  std::vector<int64_t> last_use;       // [kernel depth * height]
  std::vector<Accumulation<T>> sums;   // [padded width]
  int64_t row_capacity;
};

// Rows begin .. end - 1 of the input (images * depth * height), each gathered from the windows that read it.
template <class T>
void pool_scatter_rows(const PoolScatter<T>& a, int64_t begin, int64_t end);

}  // namespace reluxfast
