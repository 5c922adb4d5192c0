#include "cpu/max_pool.h"

#define RF_KERNEL_FILE "cpu/max_pool_pack_loops.h"
#include "cpu/foreach_isa.h"

namespace reluxfast {

template <class T>
void pool_pack_chunks(const PoolPack<T>& a, int64_t begin, int64_t end) {
  RF_DISPATCH(pool_pack_chunks(a, begin, end))
}

template void pool_pack_chunks(const PoolPack<float>&, int64_t, int64_t);
template void pool_pack_chunks(const PoolPack<double>&, int64_t, int64_t);
template void pool_pack_chunks(const PoolPack<Half>&, int64_t, int64_t);
template void pool_pack_chunks(const PoolPack<BFloat16>&, int64_t, int64_t);

}  // namespace reluxfast
