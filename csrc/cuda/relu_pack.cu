#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/relu_pack.cuh"

namespace reluxfast {
namespace cuda {

template <class T>
cudaError_t launch_relu_pack(const ReluPack<T>& a, cudaStream_t stream) {
  Launch launch(stream);
  relu_pack(a, launch);
  return launch.error();
}

template cudaError_t launch_relu_pack(const ReluPack<float>&, cudaStream_t);
template cudaError_t launch_relu_pack(const ReluPack<double>&, cudaStream_t);
template cudaError_t launch_relu_pack(const ReluPack<Half>&, cudaStream_t);
template cudaError_t launch_relu_pack(const ReluPack<BFloat16>&, cudaStream_t);

}  // namespace cuda
}  // namespace reluxfast
