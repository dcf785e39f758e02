// SPDX-License-Identifier: Apache-2.0
#include <utility>  // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/demonstrations.hpp>
#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/data/parallel.hpp>

#include "examples.hpp"
#include "fields.hpp"

namespace kedge::llm {

using json = nlohmann::ordered_json;

demonstration parse_demonstration(json_line line) {
  demonstration out;
  json& object = line.object;
  refuse_media(object);
  if (object.contains("prompt") && object.contains("completion")) {
    out.prompt = take_field(object, "prompt");
    out.completion = take_field(object, "completion");
    if (out.prompt.is_string() != out.completion.is_string())
      throw error("prompt and completion have to be both texts or both lists of messages");
  } else if (object.contains("messages")) {
    out.completion = take_field(object, "messages");
  } else if (object.contains("text")) {
    out.completion = take_field(object, "text");
  } else {
    throw error("the line has neither 'prompt' and 'completion', nor 'messages', nor 'text'");
  }
  if (out.prompt.is_null() && out.completion.is_string() && object.contains("system"))
    throw error("a 'text' is learned as it stands, but the line has a key 'system' too");
  take_system(object, out.prompt.is_null() ? out.completion : out.prompt, {&out.completion});
  out.line = line.number;
  out.extra = std::move(object);
  out.place = std::move(line.place);
  return out;
}

std::vector<demonstration> read_demonstrations(std::filesystem::path const& path, bool skip_bad_lines, std::size_t* skipped) {
  std::vector<demonstration> out;
  std::size_t const bad = read_json_lines(path, skip_bad_lines, [&](json_line line) { out.push_back(parse_demonstration(std::move(line))); });
  if (skipped != nullptr) *skipped = bad;
  return out;
}

demonstration_ids encode_demonstration(conversation_encoder const& encoder, demonstration const& example,
                                       std::size_t max_length) try {
  demonstration_ids out;
  out.line = example.line;
  json const completion = encoder.with_end(example.completion);
  if (example.prompt.is_null()) {
    out.tokens = encoder.encode(completion, false, example.extra);
  } else {
    auto const prompt = encoder.encode(example.prompt, true, example.extra);
    out.tokens = encoder.encode(joined(example.prompt, completion), false, example.extra);
    out.learned_from = common_prefix(prompt, out.tokens);
    out.dropped_prompt_tokens = prompt.size() - out.learned_from;
  }
  if (max_length > 0 && out.tokens.size() > max_length) {
    out.tokens.resize(max_length);
    out.truncated = true;
  }
  if (out.learned_from >= out.tokens.size())
    throw error(out.truncated
                    ? "the prompt fills max_length " + std::to_string(max_length) + "; raise --max_length or drop the line"
                    : std::string{"the completion adds no token to the prompt"});
  return out;
} catch (error const& problem) {
  throw error(example.place + ": " + problem.what());
}

std::vector<demonstration_ids> encode_demonstrations(conversation_encoder const& encoder,
                                                     std::span<demonstration const> examples, std::size_t max_length,
                                                     bool skip_bad_lines, std::size_t* skipped, unsigned threads) {
  std::size_t bad = 0;
  auto out = parallel_map(examples.size(), threads, skip_bad_lines, bad,
                          [&](std::size_t i) { return encode_demonstration(encoder, examples[i], max_length); });
  if (skipped != nullptr) *skipped = bad;
  return out;
}

}  // namespace kedge::llm
