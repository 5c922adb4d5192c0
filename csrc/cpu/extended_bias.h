// A bias as the CPU loops want it.
#pragma once

#include <cstdint>
#include <vector>

#include "common/bits.h"
#include "common/dtypes.h"

namespace reluxfast {

// A bias, [channels], in the accumulation type, repeated cyclically so that a word may start at any channel; or none.
template <class T>
class ExtendedBias {
 public:
  ExtendedBias(const T* bias, int64_t channels) {
    if (bias == nullptr) return;
    values_.resize(channels + kWord + kAlignment / sizeof(Accumulation<T>));
    const auto address = reinterpret_cast<uintptr_t>(values_.data());
    start_ = values_.data() + (kAlignment - address % kAlignment) % kAlignment / sizeof(Accumulation<T>);
    for (int64_t k = 0; k < channels + kWord; ++k) start_[k] = widen(bias[k % channels]);
  }
  ExtendedBias(const ExtendedBias&) = delete;
  ExtendedBias& operator=(const ExtendedBias&) = delete;

  // [channels + kWord], aligned, so that no register of bias straddles two cache lines; or null.
  const Accumulation<T>* data() const { return start_; }

 private:
  static constexpr size_t kAlignment = 64;
  std::vector<Accumulation<T>> values_;
  Accumulation<T>* start_ = nullptr;
};

}  // namespace reluxfast
