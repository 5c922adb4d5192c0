// The CPU loops of relu_pack.
#pragma once

#include <cstdint>

#include "common/relu_pack.h"

namespace reluxfast {

// Words begin .. end - 1 of 32 elements each. `bias` is a.bias in the accumulation type, [channels + kWord], repeated
// cyclically beyond channels, or null.
template <class T>
void relu_pack_words(const ReluPack<T>& a, const Accumulation<T>* bias, int64_t begin, int64_t end);

}  // namespace reluxfast
