// The loops of write_coalitions.h for one instruction set.

namespace reluxfast {
namespace RF_ISA {

// Bytes that are copied at a time, and elements that are converted at a time.
constexpr int64_t kCopy = 64, kConverted = 2048;

// What a row is chosen from.
template <class T>
struct Choice {
  const T *x, *background;  // [d]
  const int32_t* ranks;     // [players]
  int32_t below;
};

// Writes elements of a row, from its first to its last, in pieces.
template <class T>
class RowWriter {
 public:
  RowWriter(const Choice<T>& choice, const Players& players) : choice_(choice), players_(players) {}

  // The next `count` elements.
  void write(T* to, int64_t count) {
    if (players_.labels == nullptr) {
      write_each(choice_.ranks + done_, to, count);
    } else if (players_.runs == 0) {
      write_labelled(to, count);
    } else {
      write_runs(to, count);
    }
    done_ += count;
  }

 private:
  void write_each(const int32_t* __restrict ranks, T* __restrict to, int64_t count) const {
    const T* __restrict x = choice_.x + done_;
    const T* __restrict background = choice_.background + done_;
    const int32_t below = choice_.below;
    for (int64_t e = 0; e < count; ++e) {
      const T present = x[e], absent = background[e];
      to[e] = ranks[e] < below ? present : absent;
    }
  }

  void write_labelled(T* __restrict to, int64_t count) const {
    const T* __restrict x = choice_.x + done_;
    const T* __restrict background = choice_.background + done_;
    const int32_t* __restrict labels = players_.labels + done_;
    const int32_t* __restrict ranks = choice_.ranks;
    const int32_t below = choice_.below;
    for (int64_t e = 0; e < count; ++e) {
      const T present = x[e], absent = background[e];
      to[e] = ranks[labels[e]] < below ? present : absent;
    }
  }

  void write_runs(T* to, int64_t count) {
    constexpr int64_t kStep = kCopy / sizeof(T);
    const int64_t last = done_ + count;
    for (int64_t at = done_; at < last;) {
      const int64_t end = players_.ends[run_], stop = end < last ? end : last;
      const bool present = choice_.ranks[players_.of_runs[run_]] < choice_.below;
      const T* from = (present ? choice_.x : choice_.background) + at;
      T* const there = to + (at - done_);
      if (stop + kStep <= last) {
        // Whole steps: what is too much is written over by the next runs.
        for (int64_t k = 0; k < stop - at; k += kStep) memcpy(there + k, from + k, kCopy);
      } else {
        memcpy(there, from, (stop - at) * sizeof(T));
      }
      run_ += stop == end;
      at = stop;
    }
  }

  const Choice<T> choice_;
  const Players players_;
  int64_t done_ = 0, run_ = 0;
};

template <class S>
void convert(const float* from, S* to, int64_t count) {
  using V = Vec<float>;
  int64_t k = 0;
  for (; k + V::width <= count; k += V::width) store(to + k, load(from + k));
  for (; k < count; ++k) to[k] = narrow<S>(from[k]);
}

template <class T, class S>
void write_coalitions_rows(const WriteCoalitions<T, S>& a, const Players& players, int64_t begin, int64_t end) {
  for (int64_t m = begin; m < end; ++m) {
    const int32_t* job = a.jobs + m * kJobFields;
    const Choice<T> choice{a.x + job[kRow] * a.d, a.background + job[kBase] * a.d, a.ranks + job[kOrder] * a.players,
                           job[kBelow]};
    RowWriter<T> writer(choice, players);
    S* out = a.out + m * a.d;
    if constexpr (sizeof(T) == sizeof(S)) {
      writer.write(out, a.d);
    } else {
      T piece[kConverted];
      for (int64_t at = 0; at < a.d; at += kConverted) {
        const int64_t count = a.d - at < kConverted ? a.d - at : kConverted;
        writer.write(piece, count);
        convert(piece, out + at, count);
      }
    }
  }
}

}  // namespace RF_ISA
}  // namespace reluxfast
