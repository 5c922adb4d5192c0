#include "emulation/launch.h"
//
#include "cuda/soft_gate_pack.cuh"

namespace emulation {

template <class T>
void soft_gate_pack(const reluxfast::SoftGatePack<T>& a, Launch launch) {
  reluxfast::cuda::soft_gate_pack(a, launch);
}

template void soft_gate_pack(const reluxfast::SoftGatePack<float>&, Launch);
template void soft_gate_pack(const reluxfast::SoftGatePack<double>&, Launch);
template void soft_gate_pack(const reluxfast::SoftGatePack<reluxfast::Half>&, Launch);
template void soft_gate_pack(const reluxfast::SoftGatePack<reluxfast::BFloat16>&, Launch);

}  // namespace emulation
