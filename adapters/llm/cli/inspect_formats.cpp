// SPDX-License-Identifier: Apache-2.0
#include "inspect_extras.hpp"

namespace kedge::cli {

std::function<llm::state_bytes()> declare_optimizer(llm::settings_list&) {
  return [] { return llm::described_run{}.optimizer; };
}

std::function<void(nlohmann::ordered_json&)> declare_device(llm::settings_list&) {
  return [](nlohmann::ordered_json&) {};
}

pair_scoring declare_scoring(llm::settings_list&) {
  return {[] { return std::size_t{0}; }, {}};
}

}  // namespace kedge::cli
