#include "emulation/launch.h"
#include "emulation/wmma.h"
//
#include <algorithm>
#include <cstdlib>
#include <memory>

#include "cuda/mlp_chains.cuh"

namespace emulation {

template <class T>
int64_t mlp_chains(const reluxfast::MlpChains<T>& a, Launch launch) {
  constexpr size_t kAlignment = 256;
  std::unique_ptr<void, decltype(&std::free)> memory(nullptr, &std::free);
  int64_t words = 0;
  // All bits set is NaN; nothing lies behind the last byte, so that a sanitizer sees what is touched there.
  const auto allocate = [&](int64_t bytes) {
    words = bytes / sizeof(uint32_t);
    memory.reset(std::aligned_alloc(kAlignment, bytes));
    return std::memset(memory.get(), 0xff, bytes);
  };
  reluxfast::cuda::mlp_chains(a, launch, allocate);
  const uint32_t* const word = static_cast<const uint32_t*>(memory.get());
  return words - std::count(word, word + words, 0xffffffffu);
}

template int64_t mlp_chains(const reluxfast::MlpChains<float>&, Launch);
template int64_t mlp_chains(const reluxfast::MlpChains<double>&, Launch);

}  // namespace emulation
