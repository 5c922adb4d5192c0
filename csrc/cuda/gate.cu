#include "cuda/gate.cuh"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"

namespace reluxfast {
namespace cuda {

template <class T>
cudaError_t launch_gate(const Gate<T>& a, cudaStream_t stream) {
  Launch launch(stream);
  gate(a, launch);
  return launch.error();
}

template cudaError_t launch_gate(const Gate<float>&, cudaStream_t);
template cudaError_t launch_gate(const Gate<double>&, cudaStream_t);
template cudaError_t launch_gate(const Gate<Half>&, cudaStream_t);
template cudaError_t launch_gate(const Gate<BFloat16>&, cudaStream_t);

}  // namespace cuda
}  // namespace reluxfast
