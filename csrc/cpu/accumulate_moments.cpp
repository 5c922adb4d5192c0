#include "cpu/accumulate_moments.h"

#include <algorithm>

namespace reluxfast {
namespace {

template <class T>
void add_unit(const T* __restrict unit, double* __restrict mean, double* __restrict m2, double count, int64_t size) {
  for (int64_t e = 0; e < size; ++e) {
    const double value = unit[e], deviation = value - mean[e];
    mean[e] += deviation / count;
    m2[e] += deviation * (value - mean[e]);
  }
}

}  // namespace

template <class T>
void accumulate_moments_blocks(const AccumulateMoments<T>& a, int64_t begin, int64_t end) {
  const int64_t of_row = moment_blocks(a) / a.row_count;
  for (int64_t block = begin; block < end; ++block) {
    const int64_t r = block / of_row, row = a.rows[r], at = block % of_row * kMomentBlock;
    const int64_t size = std::min(kMomentBlock, a.size - at);
    for (int64_t g = 0; g < a.unit_count; ++g) {
      const T* unit = a.units + (r * a.unit_count + g) * a.size + at;
      const double count = static_cast<double>(a.count[row] + g + 1);
      add_unit(unit, a.mean + row * a.size + at, a.m2 + row * a.size + at, count, size);
    }
  }
}

template void accumulate_moments_blocks(const AccumulateMoments<float>&, int64_t, int64_t);
template void accumulate_moments_blocks(const AccumulateMoments<double>&, int64_t, int64_t);

}  // namespace reluxfast
