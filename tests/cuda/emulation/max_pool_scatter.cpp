#include "emulation/launch.h"
//
#include "cuda/max_pool_scatter.cuh"

namespace emulation {

template <class T>
void max_pool_scatter(const reluxfast::PoolScatter<T>& a, Launch launch) {
  reluxfast::cuda::max_pool_scatter(a, launch);
}

template void max_pool_scatter(const reluxfast::PoolScatter<float>&, Launch);
template void max_pool_scatter(const reluxfast::PoolScatter<double>&, Launch);
template void max_pool_scatter(const reluxfast::PoolScatter<reluxfast::Half>&, Launch);
template void max_pool_scatter(const reluxfast::PoolScatter<reluxfast::BFloat16>&, Launch);

}  // namespace emulation
