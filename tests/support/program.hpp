// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <string>

#include <sys/wait.h>

#include "support/catch.hpp"

namespace kedge::testing {

/// How a program ended, and what it said.
struct outcome {
  int code = 0;
  std::string text;  ///< standard output and error
};

inline outcome shell(std::string const& command) {
  outcome result;
  std::FILE* const pipe = popen((command + " 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::array<char, 4096> buffer{};
  while (std::size_t const n = std::fread(buffer.data(), 1, buffer.size(), pipe)) result.text.append(buffer.data(), n);
  int const status = pclose(pipe);
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

inline std::string quoted(std::string const& text) { return "'" + text + "'"; }
inline std::string quoted(char const* text) { return quoted(std::string(text)); }
inline std::string quoted(std::filesystem::path const& path) { return quoted(path.string()); }

/// One line that holds `part`, and this exit code.
inline void check_one_line(outcome const& result, int code, std::string const& part) {
  INFO(result.text);
  CHECK(result.code == code);
  CHECK_THAT(result.text, contains(part));
  CHECK(std::count(result.text.begin(), result.text.end(), '\n') == 1);
}

}  // namespace kedge::testing
