#include "emulation/launch.h"
//
#include "cuda/soft_gate.cuh"

namespace emulation {

template <class T>
void soft_gate(const reluxfast::SoftGate<T>& a, Launch launch) {
  reluxfast::cuda::soft_gate(a, launch);
}

template void soft_gate(const reluxfast::SoftGate<float>&, Launch);
template void soft_gate(const reluxfast::SoftGate<double>&, Launch);
template void soft_gate(const reluxfast::SoftGate<reluxfast::Half>&, Launch);
template void soft_gate(const reluxfast::SoftGate<reluxfast::BFloat16>&, Launch);

}  // namespace emulation
