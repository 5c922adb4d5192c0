// The instruction sets that kernels are compiled for, and the choice among them at load time.
#pragma once

namespace reluxfast {

enum class Isa { baseline, avx2, avx512 };

// The best instruction set of this machine, or the lesser one that the environment variable RELUXFAST_CPU_ISA names.
Isa cpu_isa();

// "baseline", "avx2" or "avx512".
const char* cpu_isa_name();

}  // namespace reluxfast

// Defining RF_X86=0 leaves the baseline alone, which compiles in a third of the time.
#if !defined(RF_X86) && defined(__x86_64__) && defined(__GNUC__)
#define RF_X86 1
#elif !defined(RF_X86)
#define RF_X86 0
#endif

#if RF_X86
#define RF_DISPATCH(call)                 \
  switch (::reluxfast::cpu_isa()) {       \
    case ::reluxfast::Isa::avx512:        \
      return ::reluxfast::avx512::call;   \
    case ::reluxfast::Isa::avx2:          \
      return ::reluxfast::avx2::call;     \
    case ::reluxfast::Isa::baseline:      \
      return ::reluxfast::baseline::call; \
  }                                       \
  __builtin_unreachable();
#else
#define RF_DISPATCH(call) return ::reluxfast::baseline::call;
#endif
