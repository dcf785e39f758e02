// SPDX-License-Identifier: Apache-2.0
// Models' and data's formats, linked whole, with no LibTorch in reach.
#include <kedge/llm/model/config.hpp>

int main() {
  nlohmann::ordered_json const config{{"model_type", "llama"}, {"vocab_size", 32}, {"hidden_size", 8}, {"intermediate_size", 16}, {"num_hidden_layers", 1}, {"num_attention_heads", 2}};
  return kedge::llm::parameter_count(kedge::llm::read_config(config, "here")) == 2 * 32 * 8 + 4 * 8 * 8 + 3 * 8 * 16 + 3 * 8 ? 0 : 1;
}
