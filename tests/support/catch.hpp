// SPDX-License-Identifier: Apache-2.0
#pragma once

// Catch2, 2.13 or 3, behind one include, together with the few names that differ between the two.
//
// LibTorch defines CHECK as a fatal check of its own. Both libraries are system headers, so whichever comes last wins without a
// warning; here Catch2's wins, whatever came before.
#undef CHECK

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <string>

namespace kedge::testing {

using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;

/// Matches a string (an error's message, say) that has `part` in it: CHECK_THROWS_WITH(f(), contains("…")).
inline auto contains(std::string const& part) {
#if __has_include(<catch2/catch_all.hpp>)
  return Catch::Matchers::ContainsSubstring(part);
#else
  return Catch::Matchers::Contains(part);
#endif
}

}  // namespace kedge::testing
