#include "emulation/launch.h"
//
#include "cuda/max_pool_pack.cuh"

namespace emulation {

template <class T>
void max_pool_pack(const reluxfast::PoolPack<T>& a, Launch launch) {
  reluxfast::cuda::max_pool_pack(a, launch);
}

template void max_pool_pack(const reluxfast::PoolPack<float>&, Launch);
template void max_pool_pack(const reluxfast::PoolPack<double>&, Launch);
template void max_pool_pack(const reluxfast::PoolPack<reluxfast::Half>&, Launch);
template void max_pool_pack(const reluxfast::PoolPack<reluxfast::BFloat16>&, Launch);

}  // namespace emulation
