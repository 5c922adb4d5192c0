#include "emulation/launch.h"
//
#include "cuda/gate.cuh"

namespace emulation {

template <class T>
void gate(const reluxfast::Gate<T>& a, Launch launch) {
  reluxfast::cuda::gate(a, launch);
}

template void gate(const reluxfast::Gate<float>&, Launch);
template void gate(const reluxfast::Gate<double>&, Launch);
template void gate(const reluxfast::Gate<reluxfast::Half>&, Launch);
template void gate(const reluxfast::Gate<reluxfast::BFloat16>&, Launch);

}  // namespace emulation
