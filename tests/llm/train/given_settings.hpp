// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/settings_list.hpp>

namespace kedge::testing {

/// What a run of TRL was told, in kedge's settings by the same names. An argument that kedge lacks fails the test.
inline void take(llm::settings_list const& list, nlohmann::ordered_json const& given) {
  for (auto const& [key, value] : given.items()) {
    std::vector<std::string> texts;
    for (auto const& one : value.is_array() ? value : nlohmann::ordered_json::array({value}))
      texts.push_back(one.is_string() ? one.get<std::string>() : one.dump());
    list.known(key, "").read(texts);
  }
}

}  // namespace kedge::testing
