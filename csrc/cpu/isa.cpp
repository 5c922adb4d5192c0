#include "cpu/isa.h"

#include <cstdlib>
#include <cstring>

namespace reluxfast {
namespace {

Isa best_isa() {
#if RF_X86
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return avx512 ? Isa::avx512 : avx2 ? Isa::avx2 : Isa::baseline;
#else
  return Isa::baseline;
#endif
}

Isa chosen_isa() {
  const Isa best = best_isa();
  const char* wanted = std::getenv("RELUXFAST_CPU_ISA");
  if (wanted == nullptr) return best;
  if (std::strcmp(wanted, "baseline") == 0) return Isa::baseline;
  if (std::strcmp(wanted, "avx2") == 0 && best >= Isa::avx2) return Isa::avx2;
  return best;
}

}  // namespace

Isa cpu_isa() {
  static const Isa isa = chosen_isa();
  return isa;
}

const char* cpu_isa_name() {
  switch (cpu_isa()) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    default:
      return "baseline";
  }
}

}  // namespace reluxfast
