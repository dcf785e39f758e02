// SPDX-License-Identifier: Apache-2.0
#include <utility>  // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/data/prompts.hpp>

#include "encoded_blocks.hpp"
#include "examples.hpp"
#include "fields.hpp"

namespace kedge::llm {

prompt_example parse_prompt(json_line line) {
  prompt_example out;
  refuse_media(line.object);
  out.prompt = take_field(line.object, "prompt");
  take_system(line.object, out.prompt, {});
  out.line = line.number;
  out.index = line.index;
  out.extra = std::move(line.object);
  out.place = std::move(line.place);
  return out;
}

std::vector<prompt_example> read_prompts(std::filesystem::path const& path, bool skip_bad_lines, std::size_t* skipped) {
  std::vector<prompt_example> out;
  std::size_t const bad = read_json_lines(path, skip_bad_lines, [&](json_line line) { out.push_back(parse_prompt(std::move(line))); });
  if (skipped != nullptr) *skipped = bad;
  return out;
}

std::vector<encoded_prompt> read_encoded_prompts(std::filesystem::path const& path, conversation_encoder const& encoder, reading const& how,
                                                 reading_report* report) {
  return read_in_blocks(
      path, how, data_kind::prompts, report, parse_prompt,
      [&](prompt_example const& example) {
        std::vector<std::int32_t> ids = encode_prompt(encoder, example);
        if (ids.empty()) throw error(example.place + ": the prompt has no token to go on from");
        if (how.positions > 0 && static_cast<std::int64_t>(ids.size()) >= how.positions)
          throw error(example.place + ": the prompt has " + std::to_string(ids.size()) + " tokens and leaves no room for an answer: the model has " +
                      std::to_string(how.positions) + " positions; shorten it");
        return ids;
      },
      [](prompt_example&& example, std::vector<std::int32_t>&& ids) { return encoded_prompt{std::move(example), std::move(ids)}; },
      [](encoded_prompt const&) { return true; }, [](json_line const&) {});
}

std::vector<std::int32_t> encode_prompt(conversation_encoder const& encoder, prompt_example const& example) try {
  return encoder.encode(example.prompt, true, example.extra);
} catch (error const& problem) {
  throw error(example.place + ": " + problem.what());
}

}  // namespace kedge::llm
