#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/mlp_chains.cuh"

namespace reluxfast {
namespace cuda {

template <class T>
cudaError_t launch_mlp_chains(const MlpChains<T>& a, const std::function<void*(int64_t)>& allocate,
                              cudaStream_t stream) {
  Launch launch(stream);
  mlp_chains(a, launch, allocate);
  return launch.error();
}

template cudaError_t launch_mlp_chains(const MlpChains<float>&, const std::function<void*(int64_t)>&, cudaStream_t);
template cudaError_t launch_mlp_chains(const MlpChains<double>&, const std::function<void*(int64_t)>&, cudaStream_t);

}  // namespace cuda
}  // namespace reluxfast
