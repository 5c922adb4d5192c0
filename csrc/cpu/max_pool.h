// The CPU loops of max-pooling with packed winners, and of its reverse.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/max_pool.h"

namespace reluxfast {

// Elements of y that one unit of work computes; whole words, so that no two units share a packed byte.
constexpr int64_t kPoolChunk = 2048;

// Chunks begin .. end - 1 of y, in memory order.
template <class T>
void pool_pack_chunks(const PoolPack<T>& a, int64_t begin, int64_t end);

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

// Rows begin .. end - 1 of the input (images * depth * height), each gathered from the windows that read it. A mask is
// only for pools of less than 256 taps.
template <class T>
void pool_scatter_rows(const PoolScatter<T>& a, int64_t begin, int64_t end);

}  // namespace reluxfast
