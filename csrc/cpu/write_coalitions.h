// The CPU loops of write_coalitions.
#pragma once

#include <cstdint>
#include <vector>

#include "common/write_coalitions.h"

namespace reluxfast {

// How the elements of every row find their players.
struct Players {
  const int32_t* labels;   // [d], or null where element e is player e
  const int64_t* ends;     // [runs]: where each run of equal labels ends
  const int32_t* of_runs;  // [runs]: their labels
  int64_t runs;            // 0 where they are too short to be copied as such
};

// Looks at the labels once for all rows.
class FoundPlayers {
 public:
  FoundPlayers(const int32_t* labels, int64_t d);
  Players view() const;

 private:
  const int32_t* labels_;
  std::vector<int64_t> ends_;
  std::vector<int32_t> of_runs_;
};

// Rows begin .. end - 1 of a.count.
template <class T, class S>
void write_coalitions_rows(const WriteCoalitions<T, S>& a, const Players& players, int64_t begin, int64_t end);

}  // namespace reluxfast
