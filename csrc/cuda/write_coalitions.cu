#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/write_coalitions.cuh"

namespace reluxfast {
namespace cuda {

template <class T, class S>
cudaError_t launch_write_coalitions(const WriteCoalitions<T, S>& a, cudaStream_t stream) {
  Launch launch(stream);
  write_coalitions(a, launch);
  return launch.error();
}

template cudaError_t launch_write_coalitions(const WriteCoalitions<uint16_t, uint16_t>&, cudaStream_t);
template cudaError_t launch_write_coalitions(const WriteCoalitions<uint32_t, uint32_t>&, cudaStream_t);
template cudaError_t launch_write_coalitions(const WriteCoalitions<uint64_t, uint64_t>&, cudaStream_t);
template cudaError_t launch_write_coalitions(const WriteCoalitions<float, Half>&, cudaStream_t);
template cudaError_t launch_write_coalitions(const WriteCoalitions<float, BFloat16>&, cudaStream_t);

}  // namespace cuda
}  // namespace reluxfast
