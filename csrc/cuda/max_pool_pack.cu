#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/max_pool_pack.cuh"

namespace reluxfast {
namespace cuda {

template <class T>
cudaError_t launch_max_pool_pack(const PoolPack<T>& a, cudaStream_t stream) {
  Launch launch(stream);
  max_pool_pack(a, launch);
  return launch.error();
}

template cudaError_t launch_max_pool_pack(const PoolPack<float>&, cudaStream_t);
template cudaError_t launch_max_pool_pack(const PoolPack<double>&, cudaStream_t);
template cudaError_t launch_max_pool_pack(const PoolPack<Half>&, cudaStream_t);
template cudaError_t launch_max_pool_pack(const PoolPack<BFloat16>&, cudaStream_t);

}  // namespace cuda
}  // namespace reluxfast
