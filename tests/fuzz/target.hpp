// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include <kedge/llm/base/error.hpp>

/// What every file of this folder defines: takes an input apart as a user's file would be. It has to come back, whatever the
/// bytes; refusing is fine.
extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace kedge::testing {

/// Ends the program, which is how a target tells of a finding.
[[noreturn]] inline void found(char const* what) {
  std::fprintf(stderr, "finding: %s\n", what);
  std::abort();
}

inline void expect(bool holds, char const* what) {
  if (!holds) found(what);
}

/// Runs `f`, which may refuse by an error of kedge's in one line, and by nothing else.
template <class F>
void may_refuse(F const& f) {
  try {
    f();
  } catch (llm::error const& refusal) {
    std::string_view const message = refusal.what();
    expect(!message.empty() && message.find('\n') == std::string_view::npos, "an error that is not one line");
  }
}

}  // namespace kedge::testing
