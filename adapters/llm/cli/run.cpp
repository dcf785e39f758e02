// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <exception>

#include "command.hpp"
#include "hub_environment.hpp"

namespace kedge::cli {
namespace {

// One line, whatever was thrown: libraries add traces after a line break.
std::string first_line(std::string text) {
  if (auto const end = text.find('\n'); end != std::string::npos) text.resize(end);
  return text;
}

}  // namespace

void add_json(command_line& line, bool& json) {
  line.settings.group("Run");
  line.settings.add("json", json, "print the summary as one JSON object").resumes(llm::on_resume::free);
}

int run(command const& c, arguments const& args) {
  try {
    llm::model_finder_scope const names(hub_models());
    return c.run(args);

  } catch (help_printed const&) {
    return exit_done;
  } catch (llm::usage_error const& e) {
    std::fprintf(stderr, "kedge %s: %s; see kedge %s --help\n", c.name, first_line(e.what()).c_str(), c.name);
    return exit_usage;
  } catch (llm::hub_interrupted const& e) {
    std::fprintf(stderr, "kedge %s: %s\n", c.name, e.what());
    return exit_interrupted;
  } catch (std::exception const& e) {
    std::fprintf(stderr, "kedge %s: %s\n", c.name, first_line(e.what()).c_str());
    return exit_error;
  }
}

}  // namespace kedge::cli
