// The walk over biases beside one over words, for one instruction set; included per instruction set.

namespace reluxfast {
namespace RF_ISA {

// Gives the bias of 32 successive elements, word after word. `bias` is that of ExtendedBias; element i has channel
// i / inner % channels.
template <class A>
class BiasWalk {
 public:
  BiasWalk(const A* bias, int64_t channels, int64_t inner, int64_t start)
      : bias_(bias), channels_(channels), inner_(inner), step_(kWord % channels) {
    channel_ = start / inner_ % channels_;
    offset_ = start % inner_;
  }

  RF_INLINE const A* next() {
    if (inner_ == 1) {
      const A* here = bias_ + channel_;
      channel_ += step_;
      if (channel_ >= channels_) channel_ -= channels_;
      return here;
    }
    if (offset_ + kWord <= inner_) {
      if (filled_ != channel_) {
        for (int64_t k = 0; k < kWord; ++k) word_[k] = bias_[channel_];
        filled_ = channel_;
      }
      offset_ += kWord;
      if (offset_ == inner_) advance();
      return word_;
    }
    filled_ = -1;
    for (int64_t done = 0; done < kWord;) {
      const int64_t left = inner_ - offset_, end = done + left < kWord ? done + left : kWord;
      for (int64_t k = done; k < end; ++k) word_[k] = bias_[channel_];
      offset_ += end - done;
      done = end;
      if (offset_ == inner_) advance();
    }
    return word_;
  }

 private:
  RF_INLINE void advance() {
    offset_ = 0;
    channel_ = channel_ + 1 == channels_ ? 0 : channel_ + 1;
  }

  const A* bias_;
  int64_t channels_, inner_, step_, channel_, offset_, filled_ = -1;
  A word_[kWord];
};

}  // namespace RF_ISA
}  // namespace reluxfast
