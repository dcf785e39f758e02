// SPDX-License-Identifier: Apache-2.0

// tokenizer.json, and behind a zero byte a text that is encoded and decoded by it.
#include <algorithm>
#include <string>
#include <vector>

#include <kedge/llm/base/json.hpp>
#include <kedge/llm/text/tokenizer.hpp>

#include "target.hpp"

using namespace kedge::testing;
using namespace kedge::llm;

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string_view const input(reinterpret_cast<char const*>(data), size);
  std::size_t const cut = std::min(input.find('\0'), size);
  may_refuse([&] {
    tokenizer const words = tokenizer::from_json(parse_json(input.substr(0, cut), "input"));
    for (std::string const& text : {std::string(input.substr(std::min(cut + 1, size))), std::string("The bóat 12\r\n lay <s>\xcc\x81 ▁x")})
      may_refuse([&] {
        std::vector<std::int32_t> const ids = words.encode(text, true);
        static_cast<void>(words.decode(ids, false));
        static_cast<void>(words.decode(ids, true));
        std::vector<std::int32_t> const strange = {-1, 0, 1, 0x7fffffff, static_cast<std::int32_t>(words.size())};
        static_cast<void>(words.decode(strange, false));
      });
  });
  return 0;
}
