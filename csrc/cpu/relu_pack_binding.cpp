#include "binding/relu_pack.h"
#include "cpu/parallel.h"
#include "cpu/relu_pack.h"

namespace reluxfast {
namespace {

// The bias in the accumulation type, repeated cyclically so that a word may start at any channel.
template <class T>
class ExtendedBias {
 public:
  ExtendedBias(const T* bias, int64_t channels) : values_(channels + kWord + kAlignment / sizeof(Accumulation<T>)) {
    for (int64_t k = 0; k < channels + kWord; ++k) data()[k] = widen(bias[k % channels]);
  }

  // Aligned, so that no register of bias straddles two cache lines.
  Accumulation<T>* data() {
    const auto address = reinterpret_cast<uintptr_t>(values_.data());
    return values_.data() + (kAlignment - address % kAlignment) % kAlignment / sizeof(Accumulation<T>);
  }

 private:
  static constexpr size_t kAlignment = 64;
  std::vector<Accumulation<T>> values_;
};

struct Cpu {
  template <class T>
  static void run(const ReluPack<T>& a, const Tensor&) {
    std::optional<ExtendedBias<T>> extended;
    if (a.bias != nullptr) extended.emplace(a.bias, a.channels);
    const Accumulation<T>* bias = extended ? extended->data() : nullptr;
    torch::stable::parallel_for(0, (a.numel + kWord - 1) / kWord, kGrain / kWord,
                                [&](int64_t begin, int64_t end) { relu_pack_words(a, bias, begin, end); });
  }
};

}  // namespace
}  // namespace reluxfast

STABLE_TORCH_LIBRARY_IMPL(reluxfast, CPU, m) {
  m.impl("relu_pack", TORCH_BOX(&reluxfast::relu_pack<reluxfast::Cpu>));
  m.impl("relu_pack_", TORCH_BOX(&reluxfast::relu_pack_<reluxfast::Cpu>));
}
