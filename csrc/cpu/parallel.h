// Work for one thread.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <cstdint>

namespace reluxfast {

// Elements that one thread should get at least.
constexpr int64_t kGrain = 32768;

}  // namespace reluxfast
