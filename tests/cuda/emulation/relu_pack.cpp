#include "emulation/launch.h"
//
#include "cuda/relu_pack.cuh"

namespace emulation {

template <class T>
void relu_pack(const reluxfast::ReluPack<T>& a, Launch launch) {
  reluxfast::cuda::relu_pack(a, launch);
}

template void relu_pack(const reluxfast::ReluPack<float>&, Launch);
template void relu_pack(const reluxfast::ReluPack<double>&, Launch);
template void relu_pack(const reluxfast::ReluPack<reluxfast::Half>&, Launch);
template void relu_pack(const reluxfast::ReluPack<reluxfast::BFloat16>&, Launch);

}  // namespace emulation
