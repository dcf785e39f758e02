// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>

#include "command.hpp"

// A subcommand: options to calls, and nothing else. In the program it is a file of adapters/llm/cli/.
namespace kedge::cli {

enum class season { spring, autumn };
constexpr auto names(season) { return std::array{llm::named{season::spring, "spring"}, llm::named{season::autumn, "autumn"}}; }

inline int run_haiku(arguments const& args) {
  season when = season::spring;
  std::size_t lines = 3;
  double wind = 0.5;
  command_line line("kedge haiku", "Lines about a season.");
  line.settings.add("season", when, "what they are about");
  line.settings.add("lines", lines, "how many; -1: all there are").at_least(1).at_most(100).also("-1", "100");
  line.settings.add("wind", wind, "share of lines with wind in them").at_most(1);
  line.parse(args);
  for (std::size_t i = 0; i < lines; ++i)
    std::printf("%s%s\n", std::string(llm::name_of(when)).c_str(), static_cast<double>(i) < wind * static_cast<double>(lines) ? ", wind" : "");
  return exit_done;
}

}  // namespace kedge::cli
