#include "emulation/launch.h"
//
#include "cuda/write_coalitions.cuh"

namespace emulation {

template <class T, class S>
void write_coalitions(const reluxfast::WriteCoalitions<T, S>& a, Launch launch) {
  reluxfast::cuda::write_coalitions(a, launch);
}

template void write_coalitions(const reluxfast::WriteCoalitions<uint16_t, uint16_t>&, Launch);
template void write_coalitions(const reluxfast::WriteCoalitions<uint32_t, uint32_t>&, Launch);
template void write_coalitions(const reluxfast::WriteCoalitions<uint64_t, uint64_t>&, Launch);
template void write_coalitions(const reluxfast::WriteCoalitions<float, reluxfast::Half>&, Launch);
template void write_coalitions(const reluxfast::WriteCoalitions<float, reluxfast::BFloat16>&, Launch);

}  // namespace emulation
