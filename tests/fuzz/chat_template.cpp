// SPDX-License-Identifier: Apache-2.0

// A chat template and, behind a zero byte, a JSON list of messages that it renders; without it a conversation with tools.
#include <algorithm>
#include <string>

#include <kedge/llm/base/json.hpp>
#include <kedge/llm/text/chat_template.hpp>

#include "target.hpp"

using namespace kedge::testing;
using namespace kedge::llm;
using json = nlohmann::ordered_json;

namespace {

json const conversation = json::parse(R"([{"role": "system", "content": "You help."}, {"role": "user", "content": " Hi\n<é> "},
  {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": 1.5, "b": null}}}]},
  {"role": "tool", "name": "f", "content": "21"}, {"role": "assistant", "content": "x</think>21"}])");
json const variables = json::parse(R"({"bos_token": "<s>", "eos_token": "</s>", "tools": [{"type": "function", "function": {"name": "f",
  "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}}]})");

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string_view const input(reinterpret_cast<char const*>(data), size);
  std::size_t const cut = std::min(input.find('\0'), size);
  may_refuse([&] {
    chat_template const source(input.substr(0, cut));
    json const messages = cut < size ? parse_json(input.substr(cut + 1), "messages") : conversation;
    for (bool const prompt : {true, false})
      may_refuse([&] { expect(is_utf8(source.render(messages, prompt, variables)), "text that is not UTF-8"); });
  });
  return 0;
}
