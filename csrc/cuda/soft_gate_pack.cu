#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/soft_gate_pack.cuh"

namespace reluxfast {
namespace cuda {

template <class T>
cudaError_t launch_soft_gate_pack(const SoftGatePack<T>& a, cudaStream_t stream) {
  Launch launch(stream);
  soft_gate_pack(a, launch);
  return launch.error();
}

template cudaError_t launch_soft_gate_pack(const SoftGatePack<float>&, cudaStream_t);
template cudaError_t launch_soft_gate_pack(const SoftGatePack<double>&, cudaStream_t);
template cudaError_t launch_soft_gate_pack(const SoftGatePack<Half>&, cudaStream_t);
template cudaError_t launch_soft_gate_pack(const SoftGatePack<BFloat16>&, cudaStream_t);

}  // namespace cuda
}  // namespace reluxfast
