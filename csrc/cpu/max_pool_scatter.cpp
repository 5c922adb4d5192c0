#include "cpu/max_pool.h"

#define RF_KERNEL_FILE "cpu/max_pool_scatter_loops.h"
#include "cpu/foreach_isa.h"

namespace reluxfast {

namespace {

// Every position that a tap can name, padding included, so that no winner leads outside.
int64_t columns(const Window& width) {
  const int64_t named = (width.out - 1) * width.stride + (width.kernel - 1) * width.dilation + 1;
  const int64_t size = width.padding + width.size;
  return named > size ? named : size;
}

}  // namespace

template <class T>
ScatterSpace<T>::ScatterSpace(const Pool& pool)
    : sources(pool.depth.kernel * pool.height.kernel),
      row_of_slot(sources.size(), -1),
      last_use(sources.size(), -1),
      sums(pool.channels == 1 ? columns(pool.width) : 0),
      row_capacity(pool.width.out * pool.channels + 16) {
  taps.reset(new uint8_t[sources.size() * row_capacity]);
  readers_begin.reserve(pool.width.size + 1);
  readers_begin.push_back(0);
  for (int64_t w = 0; w < pool.width.size; ++w) {
    for (int64_t tap = 0; tap < pool.width.kernel; ++tap) {
      const int64_t window = pool.width.window_of(w, tap);
      if (window >= 0) readers.push_back({window, static_cast<int>(tap)});
    }
    readers_begin.push_back(static_cast<int64_t>(readers.size()));
  }
}

namespace {

template <class T>
void dispatch_rows(const PoolScatter<T>& a, ScatterSpace<T>& space, int64_t begin, int64_t end) {
  RF_DISPATCH(pool_scatter_rows(a, space, begin, end))
}

}  // namespace

template <class T>
void pool_scatter_rows(const PoolScatter<T>& a, int64_t begin, int64_t end) {
  ScatterSpace<T> space(a.pool);
  dispatch_rows(a, space, begin, end);
}

template void pool_scatter_rows(const PoolScatter<float>&, int64_t, int64_t);
template void pool_scatter_rows(const PoolScatter<double>&, int64_t, int64_t);
template void pool_scatter_rows(const PoolScatter<Half>&, int64_t, int64_t);
template void pool_scatter_rows(const PoolScatter<BFloat16>&, int64_t, int64_t);

}  // namespace reluxfast
