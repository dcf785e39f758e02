// SPDX-License-Identifier: Apache-2.0

// config.json: what it says of the model, and what its special tokens are.
#include <kedge/llm/files/checkpoint.hpp>
#include <kedge/llm/files/json.hpp>
#include <kedge/llm/model/config.hpp>

#include "target.hpp"

using namespace kedge::testing;
using namespace kedge::llm;

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  may_refuse([&] {
    nlohmann::ordered_json const config = parse_json(std::string_view(reinterpret_cast<char const*>(data), size), "input");
    expect(special_tokens(config).is_object(), "special tokens that are no object");
    expect(read_config(config, "input").layers > 0, "a model without layers");
  });
  return 0;
}
