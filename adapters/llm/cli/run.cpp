// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <exception>

#include "command.hpp"

namespace kedge::cli {
namespace {

// One line, whatever was thrown: libraries add traces after a line break.
std::string first_line(std::string text) {
  if (auto const end = text.find('\n'); end != std::string::npos) text.resize(end);
  return text;
}

}  // namespace

void parse(CLI::App& app, arguments const& args) {
  app.set_config("--config", "", "TOML file with the same keys as the flags; flags win");
  app.get_formatter()->column_width(40);
  arguments reversed(args.rbegin(), args.rend());  // what CLI11 asks for
  for (std::string& arg : reversed)
    if (arg.rfind("--", 0) == 0) std::replace(arg.begin() + 2, arg.begin() + static_cast<std::ptrdiff_t>(std::min(arg.find('='), arg.size())), '-', '_');
  try {
    app.parse(reversed);
  } catch (CLI::CallForHelp const&) {
    std::fputs(app.help().c_str(), stdout);
    throw;
  }
}

int run(command const& c, arguments const& args) {
  try {
    return c.run(args);
  } catch (CLI::CallForHelp const&) {
    return exit_done;  // parse() has printed it
  } catch (CLI::ParseError const& e) {
    std::fprintf(stderr, "kedge %s: %s; see kedge %s --help\n", c.name, first_line(e.what()).c_str(), c.name);
    return exit_usage;
  } catch (std::exception const& e) {
    std::fprintf(stderr, "kedge %s: %s\n", c.name, first_line(e.what()).c_str());
    return exit_error;
  }
}

}  // namespace kedge::cli
