#include "cpu/draw_orders.h"

#include <algorithm>
#include <vector>

#include "common/philox.h"

namespace reluxfast {
namespace {

// A draw above its number: numbers decide between equal draws, as in a stable sort.
using Numbered = uint64_t;

// Sorts n numbered draws in linear time. They are uniform: as many buckets as draws hold about one each.
class DrawSorter {
 public:
  explicit DrawSorter(int64_t n) : n_(n), ends_(n + 1), sorted_(n) {}

  void sort(const Numbered* drawn, int32_t* order) {
    std::fill(ends_.begin(), ends_.end(), 0);
    for (int64_t i = 0; i < n_; ++i) ++ends_[bucket(drawn[i]) + 1];
    for (int64_t b = 1; b < n_; ++b) ends_[b] += ends_[b - 1];
    for (int64_t i = 0; i < n_; ++i) sorted_[ends_[bucket(drawn[i])]++] = drawn[i];
    for (int64_t i = 0; i < n_; ++i) {
      const Numbered one = sorted_[i];
      int64_t at = i;
      for (; at > 0 && sorted_[at - 1] > one; --at) sorted_[at] = sorted_[at - 1];
      sorted_[at] = one;
    }
    for (int64_t i = 0; i < n_; ++i) order[i] = static_cast<int32_t>(sorted_[i]);
  }

 private:
  int64_t bucket(Numbered drawn) const { return static_cast<int64_t>((drawn >> 32) * static_cast<uint64_t>(n_) >> 32); }

  const int64_t n_;
  std::vector<int32_t> ends_;  // of each bucket in `sorted_`, so far
  std::vector<Numbered> sorted_;
};

}  // namespace

void draw_orders_units(const DrawOrders& a, int64_t begin, int64_t end) {
  const int64_t blocks = (a.n + kPhiloxWords - 1) / kPhiloxWords;
  std::vector<Numbered> drawn(blocks * kPhiloxWords);
  DrawSorter sorter(a.n);
  for (int64_t unit = begin; unit < end; ++unit) {
    const uint32_t row = static_cast<uint32_t>(a.rows[unit / a.count]);
    const uint32_t number = static_cast<uint32_t>(a.first + unit % a.count);
    for (int64_t block = 0; block < blocks; ++block) {
      const PhiloxBlock words = philox({{row, number, a.stream, static_cast<uint32_t>(block)}}, a.key);
      for (int w = 0; w < kPhiloxWords; ++w) {
        const int64_t i = block * kPhiloxWords + w;
        drawn[i] = Numbered{words.word[w]} << 32 | static_cast<uint64_t>(i);
      }
    }
    sorter.sort(drawn.data(), a.orders + unit * a.n);
  }
}

}  // namespace reluxfast
