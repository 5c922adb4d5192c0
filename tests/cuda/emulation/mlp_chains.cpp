#include "emulation/launch.h"
#include "emulation/wmma.h"
//
#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "cuda/mlp_chains.cuh"

namespace emulation {

template <class T>
void mlp_chains(const reluxfast::MlpChains<T>& a, Launch launch) {
  constexpr size_t kAlignment = 256;
  std::unique_ptr<void, decltype(&std::free)> memory(nullptr, &std::free);
  // All bits set is NaN; nothing lies behind the last byte, so that a sanitizer sees what is touched there.
  const auto allocate = [&](int64_t bytes) {
    memory.reset(std::aligned_alloc(kAlignment, bytes));
    return std::memset(memory.get(), 0xff, bytes);
  };
  reluxfast::cuda::mlp_chains(a, launch, allocate);
}

template void mlp_chains(const reluxfast::MlpChains<float>&, Launch);
template void mlp_chains(const reluxfast::MlpChains<double>&, Launch);

}  // namespace emulation
