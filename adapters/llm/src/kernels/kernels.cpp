// SPDX-License-Identifier: Apache-2.0
#include "kernels.hpp"

#include <atomic>
#include <string>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/kernels/instruction_set.hpp>

namespace kedge::llm {

#if defined(__x86_64__)
namespace amx {
extern kernel_table const table;
}
namespace avx512 {
extern kernel_table const table;
}
namespace avx2 {
extern kernel_table const table;
}
#elif defined(__aarch64__)
namespace neon {
extern kernel_table const table;
}
#endif
namespace baseline {
extern kernel_table const table;
}

namespace {

#if defined(__x86_64__)
bool runs_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
}

// The system keeps the contents of tiles for threads of programs that have asked for them.
bool runs_amx() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned bf16 = 1U << 22, tiles = 1U << 24;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || (edx & bf16) == 0 || (edx & tiles) == 0) return false;
  constexpr long request_permission = 0x1023, tile_data = 18;
  return runs_avx512() && ::syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}
#endif

struct known_set {
  kernel_table const& table;
  bool (*runs)();
};

// The best in front. A new one is a file of isa/, a line here, and its flags in CMakeLists.txt.
constexpr known_set known_sets[] = {
#if defined(__x86_64__)
    {amx::table, runs_amx},
    {avx512::table, runs_avx512},
    {avx2::table, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
#elif defined(__aarch64__)
    {neon::table, [] { return true; }},
#endif
    {baseline::table, [] { return true; }},
};

kernel_table const& best() {
  for (known_set const& set : known_sets)
    if (set.runs()) return set.table;
  return baseline::table;
}

std::atomic<kernel_table const*>& chosen() {
  static std::atomic<kernel_table const*> table = &best();
  return table;
}

}  // namespace

kernel_table const& kernels() { return *chosen().load(std::memory_order_relaxed); }

void use_instruction_set(std::string_view name) {
  std::string known;
  for (known_set const& set : known_sets) {
    if (name != set.table.name) {
      known += (known.empty() ? "" : ", ") + std::string(set.table.name);
      continue;
    }
    if (!set.runs()) throw error("this processor has no instructions " + std::string(name) + ", which KEDGE_ISA asks for");
    chosen().store(&set.table, std::memory_order_relaxed);
    return;
  }
  throw error("KEDGE_ISA=" + std::string(name) + " is no instruction set of this kedge; it has " + known);
}

std::vector<kernel_table const*> runnable_kernels() {
  std::vector<kernel_table const*> all;
  for (known_set const& set : known_sets)
    if (set.runs()) all.push_back(&set.table);
  return all;
}

std::string instruction_set() { return kernels().name; }

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (kernel_table const* table : runnable_kernels()) names.emplace_back(table->name);
  return names;
}

}  // namespace kedge::llm
