// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/model/fsdp.hpp>

namespace kedge::llm {

std::optional<fsdp_choice> fsdp_choice::of(std::string_view text) {
  fsdp_choice choice;
  bool said = false;
  while (!text.empty()) {
    std::size_t const end = std::min(text.find_first_of(" ,"), text.size());
    std::string_view const word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word.empty() || word == "auto_wrap") continue;
    bool const off = word == "none" || word == "false" || word == "False", on = word == "true" || word == "True";
    std::optional<division> const what = off ? division::none : on ? division::weights : from_name<division>(word);
    if (!what || said) return {};
    choice.what = *what;
    said = true;
  }
  return choice;
}

}  // namespace kedge::llm
