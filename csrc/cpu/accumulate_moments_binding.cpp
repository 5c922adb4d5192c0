#include <algorithm>

#include "binding/accumulate_moments.h"
#include "cpu/accumulate_moments.h"
#include "cpu/parallel.h"

namespace reluxfast {
namespace {

template <class T>
void check_rows(const AccumulateMoments<T>& a) {
  for (int64_t r = 0; r < a.row_count; ++r) {
    STD_TORCH_CHECK(a.rows[r] >= 0 && a.rows[r] < a.state_rows,
                    "rows must lie between 0 and N - 1 = ", a.state_rows - 1, ", got ", a.rows[r]);
  }
  std::vector<int64_t> ascending(a.rows, a.rows + a.row_count);
  std::sort(ascending.begin(), ascending.end());
  const auto again = std::adjacent_find(ascending.begin(), ascending.end());
  STD_TORCH_CHECK(again == ascending.end(), "rows must be distinct, got ", *again,
                  " more than once; give all units of a row together");
}

struct Cpu {
  template <class T>
  static void run(const AccumulateMoments<T>& a, const Tensor&) {
    check_rows(a);
    if (a.unit_count == 0) return;
    const int64_t each = a.unit_count * std::min(a.size, kMomentBlock);
    torch::stable::parallel_for(0, moment_blocks(a), 1 + kGrain / (1 + each),
                                [&](int64_t begin, int64_t end) { accumulate_moments_blocks(a, begin, end); });
    // Only now: a row's blocks all start from its old count.
    for (int64_t r = 0; r < a.row_count; ++r) a.count[a.rows[r]] += a.unit_count;
  }
};

}  // namespace
}  // namespace reluxfast

STABLE_TORCH_LIBRARY_IMPL(reluxfast, CPU, m) {
  m.impl("accumulate_moments_", TORCH_BOX(&reluxfast::accumulate_moments_<reluxfast::Cpu>));
}
