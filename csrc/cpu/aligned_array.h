// Memory that registers of any width may be loaded from without straddling cache lines.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

namespace reluxfast {

constexpr size_t kCacheLine = 64;

// `count` zeros.
template <class T>
class AlignedArray {
 public:
  explicit AlignedArray(int64_t count) : values_(static_cast<T*>(::operator new(bytes(count), kAlignment))) {
    memset(values_.get(), 0, bytes(count));
  }
  T* data() const { return values_.get(); }

 private:
  static constexpr std::align_val_t kAlignment{kCacheLine};
  static size_t bytes(int64_t count) { return static_cast<size_t>(count) * sizeof(T); }
  struct Free {
    void operator()(T* values) const { ::operator delete(values, kAlignment); }
  };
  std::unique_ptr<T, Free> values_;
};

}  // namespace reluxfast
