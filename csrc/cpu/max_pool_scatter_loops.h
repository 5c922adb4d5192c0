// The reverse loops of max_pool.h for one instruction set.

namespace reluxfast {
namespace RF_ISA {

// Unpacks the winners of elements start .. start + count - 1, one byte each: the tap, or 255 where the mask's bit is 0.
// Returns the place in `space` of element `start`; space holds count + 16 bytes.
template <class T>
RF_INLINE const uint8_t* unpack_row(const PoolScatter<T>& a, int64_t start, int64_t count, uint8_t* space) {
  const int64_t first = start / 8, last = (start + count + 7) / 8, bytes = packed_bytes(a.period(), a.width);
  const uint8_t *winner = a.winner, *mask = a.mask;
  const int width = a.width;
  for (int64_t group = first; group < last; ++group) {
    uint64_t fields = 0;
    const int64_t at = group * width;
    if (width == 2) {
      memcpy(&fields, winner + at, 2);
    } else if (width == 4 || bytes - at < 8) {
      memcpy(&fields, winner + at, 4);
    } else {
      memcpy(&fields, winner + at, 8);
    }
    fields = spread8(fields, width);
    if (mask != nullptr) fields |= dropped8(mask[group]);
    memcpy(space + 8 * (group - first), &fields, 8);
  }
  return space + start % 8;
}

// One window that reads an input position.
template <class T>
struct Source {
  const T* g;           // [channels]
  const uint8_t* taps;  // [channels]
  int tap;
};

// kSources >= 0 fixes the number of sources at compile time.
template <class T, int kSources>
RF_INLINE void gather(const Source<T>* sources, int source_count, int64_t channels, bool positive, T* out) {
  using A = Accumulation<T>;
  using V = Vec<A>;
  const int n = kSources >= 0 ? kSources : source_count;
  const V zero = V::broadcast(0);
  int64_t c = 0;
  for (; c + V::width <= channels; c += V::width) {
    V sum = zero;
    for (int k = 0; k < n; ++k) {
      sum = sum + select(equals<A>(sources[k].taps + c, sources[k].tap), load(sources[k].g + c), zero);
    }
    if (positive) sum = select(sum > zero, sum, zero);
    store(out + c, sum);
  }
  for (; c < channels; ++c) {
    A sum = 0;
    for (int k = 0; k < n; ++k) sum += select(sources[k].taps[c] == sources[k].tap, widen(sources[k].g[c]), A{0});
    out[c] = narrow<T>(select(positive && !(sum > 0), A{0}, sum));
  }
}

// One input row of `channels` values per position.
template <class T>
void scatter_pixels(const PoolScatter<T>& a, const ScatterSpace<T>& space, int source_rows, T* out) {
  const int64_t channels = a.pool.channels;
  Source<T> sources[256];
  for (int64_t w = 0; w < a.pool.width.size; ++w, out += channels) {
    int count = 0;
    for (int k = 0; k < source_rows; ++k) {
      const RowSource& row = space.sources[k];
      for (int64_t r = space.readers_begin[w]; r < space.readers_begin[w + 1]; ++r) {
        const Reader reader = space.readers[r];
        const int64_t at = reader.window * channels;
        sources[count++] = {a.g + row.g + at, row.taps + at, row.first_tap + reader.tap};
      }
    }
    switch (count) {
      case 0:
        gather<T, 0>(sources, count, channels, a.positive, out);
        break;
      case 1:
        gather<T, 1>(sources, count, channels, a.positive, out);
        break;
      case 2:
        gather<T, 2>(sources, count, channels, a.positive, out);
        break;
      case 4:
        gather<T, 4>(sources, count, channels, a.positive, out);
        break;
      default:
        gather<T, -1>(sources, count, channels, a.positive, out);
    }
  }
}

// One input row of one value per position: a running sum per column, to which each window adds at its winner.
template <class T>
void scatter_columns(const PoolScatter<T>& a, ScatterSpace<T>& space, int source_rows, T* out) {
  using A = Accumulation<T>;
  const Window width = a.pool.width;
  A* sums = space.sums.data();
  for (size_t k = 0; k < space.sums.size(); ++k) sums[k] = 0;
  for (int k = 0; k < source_rows; ++k) {
    const RowSource row = space.sources[k];
    const T* g = a.g + row.g;
    // From the right, so that a column's sum runs over its taps in ascending order, as everywhere.
    for (int64_t w = width.out - 1; w >= 0; --w) {
      const int64_t tap = int64_t{row.taps[w]} - row.first_tap;
      const size_t here = static_cast<uint64_t>(tap) < static_cast<uint64_t>(width.kernel);
      // Looked up, not branched on: which tap wins cannot be predicted.
      const A choice[2] = {0, widen(g[w])};
      const int64_t shift[2] = {0, tap * width.dilation};
      sums[w * width.stride + shift[here]] += choice[here];
    }
  }
  const A* columns = sums + width.padding;
  for (int64_t w = 0; w < width.size; ++w) {
    out[w] = narrow<T>(select(a.positive && !(columns[w] > 0), A{0}, columns[w]));
  }
}

// The unpacked winners of one row of windows, kept while neighbouring input rows need them.
template <class T>
const uint8_t* row_taps(const PoolScatter<T>& a, ScatterSpace<T>& space, int64_t row, int64_t now) {
  const int64_t per_row = a.pool.width.out * a.pool.channels, slots = static_cast<int64_t>(space.row_of_slot.size());
  int64_t oldest = 0;
  for (int64_t slot = 0; slot < slots; ++slot) {
    if (space.row_of_slot[slot] == row) {
      space.last_use[slot] = now;
      return space.taps.get() + slot * space.row_capacity + row * per_row % 8;
    }
    if (space.last_use[slot] < space.last_use[oldest]) oldest = slot;
  }
  space.row_of_slot[oldest] = row;
  space.last_use[oldest] = now;
  return unpack_row(a, row * per_row, per_row, space.taps.get() + oldest * space.row_capacity);
}

template <class T>
void pool_scatter_rows(const PoolScatter<T>& a, ScatterSpace<T>& space, int64_t begin, int64_t end) {
  const Pool& p = a.pool;
  const int64_t per_row = p.width.out * p.channels, period_rows = a.period_images * p.depth.out * p.height.out;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t h = row % p.height.size, d = row / p.height.size % p.depth.size;
    const int64_t image = row / p.height.size / p.depth.size;
    int count = 0;
    for (int64_t kd = 0; kd < p.depth.kernel; ++kd) {
      const int64_t od = p.depth.window_of(d, kd);
      if (od < 0) continue;
      for (int64_t kh = 0; kh < p.height.kernel; ++kh) {
        const int64_t oh = p.height.window_of(h, kh);
        if (oh < 0) continue;
        const int64_t from = (image * p.depth.out + od) * p.height.out + oh;
        space.sources[count++] = {from * per_row, row_taps(a, space, from % period_rows, row),
                                  static_cast<int>((kd * p.height.kernel + kh) * p.width.kernel)};
      }
    }
    T* out = a.out + row * p.width.size * p.channels;
    p.channels == 1 ? scatter_columns(a, space, count, out) : scatter_pixels(a, space, count, out);
  }
}

}  // namespace RF_ISA
}  // namespace reluxfast
