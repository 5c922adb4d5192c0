// The forward loops of max_pool.h for one instruction set.

namespace reluxfast {
namespace RF_ISA {

// One valid tap of a window: its place relative to the window's tap 0, and its number.
struct PoolTap {
  int64_t offset;
  int tap;
};

// Winners y and tap numbers of elements 0 .. count - 1; element e of tap t is
// x[origin + t.offset + e * kStride].
// kTaps > 0 fixes the number of taps at compile time.
template <class T, int kStride, int kTaps>
void pool_elements(const PoolPack<T>& a, int64_t origin, const PoolTap* taps, int tap_count, int64_t count, T* y,
                   uint8_t* chosen) {
  using A = Accumulation<T>;
  using V = Vec<A>;
  const int n = kTaps > 0 ? kTaps : tap_count;
  // Pooling relu(x) is pooling x from 0 instead of -inf: the first tap wins unless one is larger.
  const A start = a.relu ? A{0} : -std::numeric_limits<A>::infinity();
  const int first = taps[0].tap;
  // A strided load reads one element more than it needs, which must not lie behind the array.
  const int64_t readable = kStride == 1 ? count : (a.numel_in() - origin - taps[n - 1].offset) / kStride;
  const int64_t vector_end = readable < count ? readable : count;
  int64_t e = 0;
  for (; e + V::width <= vector_end; e += V::width) {
    V best = V::broadcast(start);
    Taps<A> best_tap = Taps<A>::broadcast(first);
    for (int k = 0; k < n; ++k) {
      const T* from = a.x + (origin + taps[k].offset + e * kStride);
      V value;
      if constexpr (kStride == 1) {
        value = load(from);
      } else {
        value = load_even(from);
      }
      const Mask<A> taken = takes(value, best);
      best = select(taken, value, best);
      best_tap = select(taken, Taps<A>::broadcast(taps[k].tap), best_tap);
    }
    store(y + e, best);
    store_bytes(chosen + e, best_tap);
  }
  for (; e < count; ++e) {
    A best = start;
    int best_tap = first;
    for (int k = 0; k < n; ++k) {
      const A value = widen(a.x[origin + taps[k].offset + e * kStride]);
      const bool taken = takes(value, best);
      best = taken ? value : best;
      best_tap = taken ? taps[k].tap : best_tap;
    }
    y[e] = narrow<T>(best);
    chosen[e] = static_cast<uint8_t>(best_tap);
  }
}

template <class T, int kStride>
void pool_run(const PoolPack<T>& a, int64_t origin, const PoolTap* taps, int tap_count, int64_t count, T* y,
              uint8_t* chosen) {
  switch (tap_count) {
    case 4:
      return pool_elements<T, kStride, 4>(a, origin, taps, tap_count, count, y, chosen);
    case 9:
      return pool_elements<T, kStride, 9>(a, origin, taps, tap_count, count, y, chosen);
    default:
      return pool_elements<T, kStride, 0>(a, origin, taps, tap_count, count, y, chosen);
  }
}

// The taps of depth window `od`, height window `oh` and columns kw_begin .. kw_end - 1.
RF_INLINE int list_taps(const Pool& p, int64_t od, int64_t oh, int64_t kw_begin, int64_t kw_end, PoolTap* taps) {
  int count = 0;
  for (int64_t kd = p.depth.first_tap(od); kd < p.depth.end_tap(od); ++kd) {
    for (int64_t kh = p.height.first_tap(oh); kh < p.height.end_tap(oh); ++kh) {
      const int64_t line = (kd * p.depth.dilation * p.height.size + kh * p.height.dilation) * p.width.size;
      for (int64_t kw = kw_begin; kw < kw_end; ++kw) {
        taps[count].offset = (line + kw * p.width.dilation) * p.channels;
        taps[count++].tap = static_cast<int>((kd * p.height.kernel + kh) * p.width.kernel + kw);
      }
    }
  }
  return count;
}

// Packs chosen[0 .. count - 1], readable up to the next multiple of 8 with zeros beyond count.
RF_INLINE void pack_chosen(const uint8_t* chosen, int64_t count, int width, uint8_t* packed) {
  const int64_t bytes = packed_bytes(count, width);
  for (int64_t at = 0, group = 0; at < bytes; at += width, group += 8) {
    uint64_t eight;
    memcpy(&eight, chosen + group, 8);
    const uint64_t fields = squeeze8(eight, width);
    // Sizes known to the compiler: a memcpy of any other is a call.
    if (width == 2) {
      memcpy(packed + at, &fields, 2);
    } else if (width == 4 || bytes - at < 8) {
      memcpy(packed + at, &fields, 4);
    } else {
      memcpy(packed + at, &fields, 8);
    }
  }
}

template <class T>
RF_INLINE void pack_positive(const T* y, int64_t count, uint8_t* mask) {
  using A = Accumulation<T>;
  using V = Vec<A>;
  const V zero = V::broadcast(0);
  for (int64_t i = 0; i < count; i += kWord) {
    uint32_t bits = 0;
    if (i + kWord <= count) {
      for (int k = 0; k < kWord; k += V::width) bits |= to_bits(load(y + i + k) > zero) << k;
    } else {
      for (int64_t k = 0; i + k < count; ++k) bits |= static_cast<uint32_t>(widen(y[i + k]) > 0) << k;
    }
    store_word(mask + i / 8, bits);
  }
}

template <class T>
void pool_pack_chunks(const PoolPack<T>& a, int64_t begin, int64_t end) {
  const Pool& p = a.pool;
  const Window &depth = p.depth, &height = p.height, &width = p.width;
  const int64_t channels = p.channels, numel = a.numel_out();
  alignas(64) uint8_t chosen[kPoolChunk];
  PoolTap taps[256];
  // Windows low .. high - 1 along the width lie inside the input whole.
  const int64_t low = (width.padding + width.stride - 1) / width.stride;
  const int64_t room = width.size - 1 + width.padding - (width.kernel - 1) * width.dilation;
  const int64_t high = room < 0 ? 0 : (room / width.stride + 1 < width.out ? room / width.stride + 1 : width.out);
  const bool along_width = channels == 1 && width.stride <= 2;

  int64_t pixel = begin * kPoolChunk / channels, channel = begin * kPoolChunk % channels;
  int64_t ow = pixel % width.out, oh = pixel / width.out % height.out;
  int64_t od = pixel / width.out / height.out % depth.out, image = pixel / p.out_positions();
  int tap_count = 0;
  int64_t listed_row = -1, listed_begin = -1, listed_end = -1;
  for (int64_t chunk = begin; chunk < end; ++chunk) {
    const int64_t from = chunk * kPoolChunk;
    const int64_t count = numel - from < kPoolChunk ? numel - from : kPoolChunk;
    T* y = a.y + from;
    for (int64_t done = 0; done < count;) {
      const int64_t kw_begin = width.first_tap(ow), kw_end = width.end_tap(ow), row = od * height.out + oh;
      if (row != listed_row || kw_begin != listed_begin || kw_end != listed_end) {
        tap_count = list_taps(p, od, oh, kw_begin, kw_end, taps);
        listed_row = row, listed_begin = kw_begin, listed_end = kw_end;
      }
      const int64_t line = (image * depth.size + depth.position(od, 0)) * height.size + height.position(oh, 0);
      const int64_t origin = (line * width.size + width.position(ow, 0)) * channels + channel;
      if (along_width && ow >= low && ow < high) {
        const int64_t run = high - ow < count - done ? high - ow : count - done;
        width.stride == 1 ? pool_run<T, 1>(a, origin, taps, tap_count, run, y + done, chosen + done)
                          : pool_run<T, 2>(a, origin, taps, tap_count, run, y + done, chosen + done);
        done += run;
        ow += run;
      } else {
        const int64_t run = channels - channel < count - done ? channels - channel : count - done;
        pool_run<T, 1>(a, origin, taps, tap_count, run, y + done, chosen + done);
        done += run;
        channel += run;
        if (channel == channels) {
          channel = 0;
          ++ow;
        }
      }
      if (ow == width.out) {
        ow = 0;
        if (++oh == height.out) {
          oh = 0;
          if (++od == depth.out) {
            od = 0;
            ++image;
          }
        }
      }
    }
    for (int64_t k = count; k < kPoolChunk && k % kWord != 0; ++k) chosen[k] = 0;
    if (a.winner != nullptr) pack_chosen(chosen, count, a.width, a.winner + from * a.width / 8);
    if (a.mask != nullptr) pack_positive(y, count, a.mask + from / 8);
  }
}

}  // namespace RF_ISA
}  // namespace reluxfast
