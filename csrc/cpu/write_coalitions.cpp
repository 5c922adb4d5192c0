#include "cpu/write_coalitions.h"

#define RF_KERNEL_FILE "cpu/write_coalitions_loops.h"
#include "cpu/foreach_isa.h"

namespace reluxfast {
namespace {

// Elements of a run, on average, from which on a copy of the run costs less than a choice for each of them.
constexpr int64_t kLongRun = 8;

}  // namespace

FoundPlayers::FoundPlayers(const int32_t* labels, int64_t d) : labels_(labels) {
  int64_t own = 0;
  while (own < d && labels[own] == own) ++own;
  if (own == d) {
    labels_ = nullptr;
    return;
  }
  for (int64_t begin = 0, end = 0; begin < d; begin = end) {
    while (end < d && labels[end] == labels[begin]) ++end;
    ends_.push_back(end);
    of_runs_.push_back(labels[begin]);
  }
  if (static_cast<int64_t>(ends_.size()) * kLongRun > d) ends_.clear();
}

Players FoundPlayers::view() const {
  return {labels_, ends_.data(), of_runs_.data(), static_cast<int64_t>(ends_.size())};
}

template <class T, class S>
void write_coalitions_rows(const WriteCoalitions<T, S>& a, const Players& players, int64_t begin, int64_t end) {
  RF_DISPATCH(write_coalitions_rows(a, players, begin, end))
}

template void write_coalitions_rows(const WriteCoalitions<uint16_t, uint16_t>&, const Players&, int64_t, int64_t);
template void write_coalitions_rows(const WriteCoalitions<uint32_t, uint32_t>&, const Players&, int64_t, int64_t);
template void write_coalitions_rows(const WriteCoalitions<uint64_t, uint64_t>&, const Players&, int64_t, int64_t);
template void write_coalitions_rows(const WriteCoalitions<float, Half>&, const Players&, int64_t, int64_t);
template void write_coalitions_rows(const WriteCoalitions<float, BFloat16>&, const Players&, int64_t, int64_t);

}  // namespace reluxfast
