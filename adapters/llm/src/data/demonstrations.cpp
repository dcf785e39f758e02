// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // max, min
#include <utility>    // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/demonstrations.hpp>
#include <kedge/llm/data/jsonl.hpp>

#include "encoded_blocks.hpp"
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
  out.index = line.index;
  if (object.contains("label")) out.odd.add(oddity::unread_label);
  if (!out.prompt.is_null() && repeats(out.prompt, out.completion)) out.odd.add(oddity::repeated_prompt);
  if (ends_with_other(out.completion)) out.odd.add(oddity::ends_with_other);
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

namespace {

// The runs that lie within [first, last), counted from `from` on.
std::vector<token_run> part_of(std::vector<std::pair<std::size_t, std::size_t>> const& runs, std::size_t first, std::size_t last, std::size_t from) {
  std::vector<token_run> out;
  for (auto const& [begin, end] : runs)
    if (std::max(begin, first) < std::min(end, last)) out.push_back({std::max(begin, first) - from, std::min(end, last) - from});
  return out;
}

struct whole_example {
  std::vector<std::int32_t> tokens;
  std::vector<std::pair<std::size_t, std::size_t>> of_assistant;
  bool marked = false;
};

whole_example encode_whole(conversation_encoder const& encoder, demonstration const& example, bool assistant_only) {
  json const completion = encoder.with_end(example.completion);
  json const all = example.prompt.is_null() ? completion : joined(example.prompt, completion);
  if (!assistant_only) return {encoder.encode(all, false, example.extra), {}};
  if (!all.is_array()) throw error("assistant_only_loss is for conversations; give messages, or leave it out");
  auto [ids, of_assistant] = encoder.encode_marked(all, example.extra);
  if (of_assistant.empty()) throw error("the conversation has no token of the assistant's to learn");
  return {std::move(ids), std::move(of_assistant), true};
}

}  // namespace

demonstration_ids encode_demonstration(conversation_encoder const& encoder, demonstration const& example, demonstration_rules const& rules) try {
  demonstration_ids out;
  out.line = example.line;
  out.index = example.index;
  out.odd = example.odd;
  whole_example whole = encode_whole(encoder, example, rules.assistant_only);
  if (!example.prompt.is_null()) {
    auto const prompt = encoder.encode(example.prompt, true, example.extra);
    std::size_t const shared = common_prefix(prompt, whole.tokens);
    out.dropped_prompt_tokens = prompt.size() - shared;
    if (rules.completion_only) out.learned_from = shared;
    if (shared == 0) out.odd.add(oddity::empty_prompt);
  }
  std::size_t const over = rules.max_length > 0 && whole.tokens.size() > rules.max_length ? whole.tokens.size() - rules.max_length : 0;
  bool const from_end = rules.truncation == truncation_mode::keep_end;
  std::size_t const first = from_end ? over : 0, last = whole.tokens.size() - (from_end ? 0 : over);
  out.truncated = over > 0;
  out.tokens.assign(whole.tokens.begin() + static_cast<std::ptrdiff_t>(first), whole.tokens.begin() + static_cast<std::ptrdiff_t>(last));
  if (whole.marked) out.learned = part_of(whole.of_assistant, std::max(first, out.learned_from), last, first);
  bool const nothing = whole.marked ? out.learned.empty() : out.learned_from >= last;
  if (nothing)
    throw error(out.truncated ? "the prompt fills max_length " + std::to_string(rules.max_length) + "; raise --max_length or drop the line"
                              : std::string{"the completion adds no token to the prompt"});
  out.learned_from -= std::min(out.learned_from, first);
  if (out.truncated) out.odd.add(oddity::cut);
  if (out.dropped_prompt_tokens > 0) out.odd.add(oddity::dropped_prompt);
  if (encoder.loses_thinking(example.prompt, example.completion, example.extra)) out.odd.add(oddity::lost_thinking);
  return out;
} catch (error const& problem) {
  throw error(example.place + ": " + problem.what());
}

std::vector<demonstration_ids> read_encoded_demonstrations(std::filesystem::path const& path, conversation_encoder const& encoder,
                                                           demonstration_rules const& rules, reading const& how, reading_report* report) {
  return read_in_blocks(
      path, how, data_kind::demonstrations, report, parse_demonstration,
      [&](demonstration const& example) { return encode_demonstration(encoder, example, rules); },
      [&](demonstration&&, demonstration_ids&& ids) {
        if (how.positions > 0 && ids.tokens.size() > static_cast<std::size_t>(how.positions)) ids.odd.add(oddity::beyond_positions);
        return std::move(ids);
      },
      [](demonstration_ids const&) { return true; }, [](json_line const&) {});
}

}  // namespace kedge::llm
