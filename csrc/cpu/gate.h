// The CPU loops of gate.
#pragma once

#include <cstdint>

#include "common/gate.h"

namespace reluxfast {

// Words begin .. end - 1 of the repeats * words_per_repeat() there are.
template <class T>
void gate_words(const Gate<T>& a, int64_t begin, int64_t end);

}  // namespace reluxfast
