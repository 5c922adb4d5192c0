#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/soft_gate.cuh"

namespace reluxfast {
namespace cuda {

template <class T>
cudaError_t launch_soft_gate(const SoftGate<T>& a, cudaStream_t stream) {
  Launch launch(stream);
  soft_gate(a, launch);
  return launch.error();
}

template cudaError_t launch_soft_gate(const SoftGate<float>&, cudaStream_t);
template cudaError_t launch_soft_gate(const SoftGate<double>&, cudaStream_t);
template cudaError_t launch_soft_gate(const SoftGate<Half>&, cudaStream_t);
template cudaError_t launch_soft_gate(const SoftGate<BFloat16>&, cudaStream_t);

}  // namespace cuda
}  // namespace reluxfast
