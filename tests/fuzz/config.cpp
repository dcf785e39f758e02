// SPDX-License-Identifier: Apache-2.0

// config.json: what it says of the model, its parameters and the memory they need, and what its special tokens are.
#include <cstdint>

#include <kedge/llm/base/json.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/model/config.hpp>
#include <kedge/llm/model/memory_plan.hpp>

#include "target.hpp"

using namespace kedge::testing;
using namespace kedge::llm;

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  may_refuse([&] {
    nlohmann::ordered_json const config = parse_json(std::string_view(reinterpret_cast<char const*>(data), size), "input");
    expect(special_tokens(config).is_object(), "special tokens that are no object");
    transformer_config const model = read_config(config, "input");
    expect(model.layers > 0, "a model without layers");
    std::int64_t count = 0;
    for (parameter const& p : parameters_of(model)) {
      std::int64_t size = 1;
      for (std::int64_t const d : p.shape) size *= d;
      expect(size > 0, "a parameter without numbers");
      count += size;
    }
    expect(count == parameter_count(model), "two counts of parameters that differ");
    expect(describe_memory(model).at("weights") == 2 * count, "weights of another size");
    may_refuse([&] { expect(read_config(reward_config(config, "input"), "input").scalar_head, "a reward model without a score"); });
  });
  return 0;
}
