// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "family.hpp"

namespace kedge::llm {
namespace known {

extern family const llama, mistral, smollm3, gemma, gemma2, gemma3, qwen2, qwen3, phi3, granite, olmo2, olmo3, arcee, seed_oss,
    ministral, ministral3, glm4, exaone4, qwen3_moe, mixtral, olmoe, granitemoe, cohere, cohere2, gpt_oss, stablelm, cwm,
    ernie4_5, glm, helium, nemotron, jais2, starcoder2, vaultgemma;

}  // namespace known

std::span<family const* const> families() {
  static constexpr std::array all{
      &known::llama,     &known::mistral,  &known::smollm3,    &known::gemma,      &known::gemma2, &known::gemma3,
      &known::qwen2,     &known::qwen3,    &known::phi3,       &known::granite,    &known::olmo2,  &known::olmo3,
      &known::arcee,     &known::seed_oss, &known::ministral,  &known::ministral3, &known::glm4,   &known::exaone4,
      &known::qwen3_moe, &known::mixtral,  &known::olmoe,      &known::granitemoe, &known::cohere, &known::cohere2,
      &known::gpt_oss,   &known::stablelm, &known::cwm,        &known::ernie4_5,   &known::glm,    &known::helium,
      &known::nemotron,  &known::jais2,    &known::starcoder2, &known::vaultgemma};
  return all;
}

std::string family_list(std::string_view family_names::* which) {
  std::string list;
  for (family const* const f : families()) list += (list.empty() ? "" : ", ") + std::string(f->names.*which);
  return list;
}

}  // namespace kedge::llm
