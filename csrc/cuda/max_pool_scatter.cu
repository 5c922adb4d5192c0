#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/max_pool_scatter.cuh"

namespace reluxfast {
namespace cuda {

template <class T>
cudaError_t launch_max_pool_scatter(const PoolScatter<T>& a, cudaStream_t stream) {
  Launch launch(stream);
  max_pool_scatter(a, launch);
  return launch.error();
}

template cudaError_t launch_max_pool_scatter(const PoolScatter<float>&, cudaStream_t);
template cudaError_t launch_max_pool_scatter(const PoolScatter<double>&, cudaStream_t);
template cudaError_t launch_max_pool_scatter(const PoolScatter<Half>&, cudaStream_t);
template cudaError_t launch_max_pool_scatter(const PoolScatter<BFloat16>&, cudaStream_t);

}  // namespace cuda
}  // namespace reluxfast
