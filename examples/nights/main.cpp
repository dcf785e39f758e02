// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <map>

#include <CLI/CLI.hpp>

#include "../on_policy/experiment.hpp"
#include "night.hpp"

namespace {

using namespace kedge_nights;

std::map<std::string, void (*)(night const&)> const nights{{"apo-offline", apo_offline}, {"apo-online", apo_online}, {"salsa-gold", salsa_gold}, {"sdpo-sources", sdpo_sources}};

std::string which = "apo-offline";
fs::path results;
bool tables_only = false;

void add_flags(CLI::App& app) {
  app.add_option("--night", which, "what is compared")->check(CLI::IsMember(nights))->capture_default_str();
  app.add_option("--results", results, "JSON file of the figures: what stands there isn't run again")->required();
  app.add_flag("--tables", tables_only, "run nothing, print the tables of what is there");
}

void work(kedge_on_policy::options const& given) {
  night n{.where = {}, .results = results, .run = !tables_only};
  n.where.given = given;
  if (!tables_only) n.where = kedge_on_policy::prepare(given);
  nights.at(which)(n);
}

}  // namespace

int main(int argc, char** argv) {
  return kedge_on_policy::guarded(argc, argv, "kedge-nights", "Grids of training runs over many seeds; they take hours, and go on where they stopped.", work, add_flags);
}
