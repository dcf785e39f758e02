// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "family.hpp"

namespace kedge::llm {
namespace known {

extern family const llama, mistral, smollm3, gemma, gemma2, gemma3, qwen2, qwen3, phi3;

}  // namespace known

std::span<family const* const> families() {
  static constexpr std::array all{&known::llama,  &known::mistral, &known::smollm3, &known::gemma, &known::gemma2,
                                  &known::gemma3, &known::qwen2,   &known::qwen3,   &known::phi3};
  return all;
}

std::string family_list(std::string_view family_names::* which) {
  std::string list;
  for (family const* const f : families()) list += (list.empty() ? "" : ", ") + std::string(f->names.*which);
  return list;
}

}  // namespace kedge::llm
