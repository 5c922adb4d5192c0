// The CUDA kernels as numpy calls. Arrays are taken as bytes, in memory order; `dtype` names what x, y, g and the like
// hold, half types as their 16 bits.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "emulation/launch.h"

namespace py = pybind11;
using namespace reluxfast;

namespace {

using Bytes = py::array_t<uint8_t>;
using Sizes = std::vector<int64_t>;

template <class T>
const T* in(const std::optional<Bytes>& bytes) {
  return bytes ? reinterpret_cast<const T*>(bytes->data()) : nullptr;
}

template <class T>
T* out(std::optional<Bytes>& bytes) {
  return bytes ? reinterpret_cast<T*>(bytes->mutable_data()) : nullptr;
}

template <class F>
void dispatch(const std::string& dtype, const F& f) {
  if (dtype == "float32") return f(float{});
  if (dtype == "float64") return f(double{});
  if (dtype == "float16") return f(Half{});
  if (dtype == "bfloat16") return f(BFloat16{});
  throw std::invalid_argument("dtype: " + dtype);
}

void relu_pack(const std::string& dtype, std::optional<Bytes> x, std::optional<Bytes> y, std::optional<Bytes> residual,
               std::optional<Bytes> mask, std::optional<Bytes> bias, int64_t numel, int64_t channels, int64_t inner,
               double lo, double hi, int64_t most_blocks) {
  dispatch(dtype, [&](auto zero) {
    using T = decltype(zero);
    ReluPack<T> a;
    a.x = in<T>(x);
    a.y = out<T>(y);
    a.residual = in<T>(residual);
    a.mask = out<uint8_t>(mask);
    a.bias = in<T>(bias);
    a.numel = numel;
    a.channels = channels;
    a.inner = inner;
    a.lo = static_cast<Accumulation<T>>(lo);
    a.hi = static_cast<Accumulation<T>>(hi);
    const py::gil_scoped_release released;
    emulation::relu_pack(a, emulation::Launch(most_blocks, true));
  });
}

void gate(const std::string& dtype, std::optional<Bytes> g, std::optional<Bytes> result, std::optional<Bytes> skip,
          std::optional<Bytes> mask, int64_t repeats, int64_t period, int mode, int64_t most_blocks, bool threads) {
  dispatch(dtype, [&](auto zero) {
    using T = decltype(zero);
    Gate<T> a;
    a.g = in<T>(g);
    a.out = out<T>(result);
    a.skip = in<T>(skip);
    a.mask = in<uint8_t>(mask);
    a.repeats = repeats;
    a.period = period;
    a.mode = mode;
    const py::gil_scoped_release released;
    emulation::gate(a, emulation::Launch(most_blocks, threads));
  });
}

void soft_gate_pack(const std::string& dtype, std::optional<Bytes> z, std::optional<Bytes> d,
                    std::optional<Bytes> residual, std::optional<Bytes> bias, std::optional<Bytes> d_bias,
                    std::optional<Bytes> v, std::optional<Bytes> first, std::optional<Bytes> second,
                    std::optional<Bytes> first_bytes, std::optional<Bytes> second_bytes, int64_t numel,
                    int64_t channels, int64_t inner, const std::vector<double>& factors,
                    const std::vector<int>& branches, double epsilon, double lo, double hi, int numerator,
                    int64_t most_blocks, bool threads) {
  dispatch(dtype, [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulation<T>;
    SoftGatePack<T> a{};
    a.z = in<T>(z);
    a.d = in<T>(d);
    a.residual = in<T>(residual);
    a.bias = in<T>(bias);
    a.d_bias = in<T>(d_bias);
    a.v = out<T>(v);
    a.q[0] = out<T>(first);
    a.q[1] = out<T>(second);
    a.bytes[0] = out<uint8_t>(first_bytes);
    a.bytes[1] = out<uint8_t>(second_bytes);
    a.numel = numel;
    a.channels = channels;
    a.inner = inner;
    a.lo = static_cast<A>(lo);
    a.hi = static_cast<A>(hi);
    a.epsilon = static_cast<A>(epsilon);
    a.gates = static_cast<int>(branches.size());
    a.numerator = numerator;
    for (int gate = 0; gate < a.gates; ++gate) {
      a.f[gate] = static_cast<A>(factors.at(2 * gate));
      a.f_d[gate] = static_cast<A>(factors.at(2 * gate + 1));
      a.branch[gate] = branches.at(gate);
    }
    const py::gil_scoped_release released;
    emulation::soft_gate_pack(a, emulation::Launch(most_blocks, threads));
  });
}

void soft_gate(const std::string& dtype, std::optional<Bytes> g, std::optional<Bytes> result, std::optional<Bytes> skip,
               std::optional<Bytes> q, std::optional<Bytes> bytes, int64_t repeats, int64_t period, int64_t most_blocks,
               bool threads) {
  dispatch(dtype, [&](auto zero) {
    using T = decltype(zero);
    SoftGate<T> a{};
    a.g = in<T>(g);
    a.out = out<T>(result);
    a.skip = in<T>(skip);
    a.q = in<T>(q);
    a.bytes = in<uint8_t>(bytes);
    a.repeats = repeats;
    a.period = period;
    const py::gil_scoped_release released;
    emulation::soft_gate(a, emulation::Launch(most_blocks, threads));
  });
}

// `dtype` is that of out, and of x and background unless these are `wide`, float32.
void write_coalitions(const std::string& dtype, bool wide, std::optional<Bytes> x, std::optional<Bytes> background,
                      std::optional<Bytes> result, std::optional<Bytes> labels, std::optional<Bytes> ranks,
                      std::optional<Bytes> jobs, int64_t count, int64_t d, int64_t players, int64_t most_blocks,
                      bool threads) {
  const auto run = [&](auto read, auto written) {
    using T = decltype(read);
    using S = decltype(written);
    WriteCoalitions<T, S> a{};
    a.x = in<T>(x);
    a.background = in<T>(background);
    a.out = out<S>(result);
    a.labels = in<int32_t>(labels);
    a.ranks = in<int32_t>(ranks);
    a.jobs = in<int32_t>(jobs);
    a.count = count;
    a.d = d;
    a.players = players;
    const py::gil_scoped_release released;
    emulation::write_coalitions(a, emulation::Launch(most_blocks, threads));
  };
  dispatch(dtype, [&](auto zero) {
    if constexpr (sizeof zero == 8) {
      run(uint64_t{}, uint64_t{});
    } else if constexpr (sizeof zero == 4) {
      run(uint32_t{}, uint32_t{});
    } else {
      wide ? run(float{}, zero) : run(uint16_t{}, uint16_t{});
    }
  });
}

// `weights` and `biases` are those of all layers, one behind the other. Returns what emulation::mlp_chains does.
int64_t mlp_chains(const std::string& dtype, std::optional<Bytes> x, std::optional<Bytes> background,
                   std::optional<Bytes> cycle, std::optional<Bytes> permutations, std::optional<Bytes> members,
                   std::optional<Bytes> starts, std::optional<Bytes> weights, std::optional<Bytes> biases,
                   std::optional<Bytes> marginals, std::optional<Bytes> fx, std::optional<Bytes> fb,
                   const Sizes& widths, int64_t rows, int64_t background_rows, int64_t pairs, int64_t players,
                   bool antithetic, bool allow_tf32, int64_t most_blocks) {
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    MlpChains<T> a{};
    a.x = in<T>(x);
    a.background = in<T>(background);
    a.cycle = in<int32_t>(cycle);
    a.permutations = in<int32_t>(permutations);
    a.members = in<int32_t>(members);
    a.starts = in<int32_t>(starts);
    a.layers = static_cast<int>(widths.size()) - 1;
    const T *weight = in<T>(weights), *bias = in<T>(biases);
    for (int l = 0; l <= a.layers; ++l) a.widths[l] = widths.at(l);
    for (int l = 0; l < a.layers; ++l) {
      a.weights[l] = weight;
      a.biases[l] = bias;
      weight += a.widths[l] * a.widths[l + 1];
      bias += a.widths[l + 1];
    }
    a.marginals = out<T>(marginals);
    a.fx = out<T>(fx);
    a.fb = out<T>(fb);
    a.rows = rows;
    a.background_rows = background_rows;
    a.pairs = pairs;
    a.players = players;
    a.antithetic = antithetic;
    a.allow_tf32 = allow_tf32;
    const py::gil_scoped_release released;
    return emulation::mlp_chains(a, emulation::Launch(most_blocks, true));
  };
  return dtype == "float32" ? run(float{}) : run(double{});
}

// Each window is size, out, kernel, stride, padding, dilation.
Pool make_pool(int64_t images, int64_t channels, const std::vector<Sizes>& windows) {
  const auto window = [&](int k) {
    const Sizes& w = windows.at(k);
    return Window{w.at(0), w.at(1), w.at(2), w.at(3), w.at(4), w.at(5)};
  };
  return Pool{images, channels, window(0), window(1), window(2)};
}

void max_pool_pack(const std::string& dtype, std::optional<Bytes> x, std::optional<Bytes> y,
                   std::optional<Bytes> winner, std::optional<Bytes> mask, int64_t images, int64_t channels,
                   const std::vector<Sizes>& windows, int width, bool relu, int64_t most_blocks) {
  dispatch(dtype, [&](auto zero) {
    using T = decltype(zero);
    PoolPack<T> a;
    a.x = in<T>(x);
    a.y = out<T>(y);
    a.winner = out<uint8_t>(winner);
    a.mask = out<uint8_t>(mask);
    a.pool = make_pool(images, channels, windows);
    a.width = width;
    a.relu = relu;
    const py::gil_scoped_release released;
    emulation::max_pool_pack(a, emulation::Launch(most_blocks, true));
  });
}

void max_pool_scatter(const std::string& dtype, std::optional<Bytes> g, std::optional<Bytes> winner,
                      std::optional<Bytes> mask, std::optional<Bytes> result, int64_t images, int64_t channels,
                      const std::vector<Sizes>& windows, int64_t period_images, int width, bool positive,
                      int64_t most_blocks, bool threads) {
  dispatch(dtype, [&](auto zero) {
    using T = decltype(zero);
    PoolScatter<T> a;
    a.g = in<T>(g);
    a.winner = in<uint8_t>(winner);
    a.mask = in<uint8_t>(mask);
    a.out = out<T>(result);
    a.pool = make_pool(images, channels, windows);
    a.period_images = period_images;
    a.width = width;
    a.positive = positive;
    const py::gil_scoped_release released;
    emulation::max_pool_scatter(a, emulation::Launch(most_blocks, threads));
  });
}

}  // namespace

PYBIND11_MODULE(emulated_kernels, m) {
  m.def("relu_pack", &relu_pack, py::kw_only(), py::arg("dtype"), py::arg("x").noconvert(), py::arg("y").noconvert(),
        py::arg("residual").noconvert(), py::arg("mask").noconvert(), py::arg("bias").noconvert(), py::arg("numel"),
        py::arg("channels"), py::arg("inner"), py::arg("lo"), py::arg("hi"), py::arg("most_blocks"));
  m.def("gate", &gate, py::kw_only(), py::arg("dtype"), py::arg("g").noconvert(), py::arg("out").noconvert(),
        py::arg("skip").noconvert(), py::arg("mask").noconvert(), py::arg("repeats"), py::arg("period"),
        py::arg("mode"), py::arg("most_blocks"), py::arg("threads"));
  m.def("max_pool_pack", &max_pool_pack, py::kw_only(), py::arg("dtype"), py::arg("x").noconvert(),
        py::arg("y").noconvert(), py::arg("winner").noconvert(), py::arg("mask").noconvert(), py::arg("images"),
        py::arg("channels"), py::arg("windows"), py::arg("width"), py::arg("relu"), py::arg("most_blocks"));
  m.def("max_pool_scatter", &max_pool_scatter, py::kw_only(), py::arg("dtype"), py::arg("g").noconvert(),
        py::arg("winner").noconvert(), py::arg("mask").noconvert(), py::arg("out").noconvert(), py::arg("images"),
        py::arg("channels"), py::arg("windows"), py::arg("period_images"), py::arg("width"), py::arg("positive"),
        py::arg("most_blocks"), py::arg("threads"));
  m.def("soft_gate_pack", &soft_gate_pack, py::kw_only(), py::arg("dtype"), py::arg("z").noconvert(),
        py::arg("d").noconvert(), py::arg("residual").noconvert(), py::arg("bias").noconvert(),
        py::arg("d_bias").noconvert(), py::arg("v").noconvert(), py::arg("first").noconvert(),
        py::arg("second").noconvert(), py::arg("first_bytes").noconvert(), py::arg("second_bytes").noconvert(),
        py::arg("numel"), py::arg("channels"), py::arg("inner"), py::arg("factors"), py::arg("branches"),
        py::arg("epsilon"), py::arg("lo"), py::arg("hi"), py::arg("numerator"), py::arg("most_blocks"),
        py::arg("threads"));
  m.def("soft_gate", &soft_gate, py::kw_only(), py::arg("dtype"), py::arg("g").noconvert(), py::arg("out").noconvert(),
        py::arg("skip").noconvert(), py::arg("q").noconvert(), py::arg("bytes").noconvert(), py::arg("repeats"),
        py::arg("period"), py::arg("most_blocks"), py::arg("threads"));
  m.def("write_coalitions", &write_coalitions, py::kw_only(), py::arg("dtype"), py::arg("wide"),
        py::arg("x").noconvert(), py::arg("background").noconvert(), py::arg("out").noconvert(),
        py::arg("labels").noconvert(), py::arg("ranks").noconvert(), py::arg("jobs").noconvert(), py::arg("count"),
        py::arg("d"), py::arg("players"), py::arg("most_blocks"), py::arg("threads"));
  m.def("mlp_chains", &mlp_chains, py::kw_only(), py::arg("dtype"), py::arg("x").noconvert(),
        py::arg("background").noconvert(), py::arg("cycle").noconvert(), py::arg("permutations").noconvert(),
        py::arg("members").noconvert(), py::arg("starts").noconvert(), py::arg("weights").noconvert(),
        py::arg("biases").noconvert(), py::arg("marginals").noconvert(), py::arg("fx").noconvert(),
        py::arg("fb").noconvert(), py::arg("widths"), py::arg("rows"), py::arg("background_rows"), py::arg("pairs"),
        py::arg("players"), py::arg("antithetic"), py::arg("allow_tf32"), py::arg("most_blocks"));
}
