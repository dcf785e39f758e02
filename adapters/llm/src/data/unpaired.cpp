// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/data/unpaired.hpp>

#include <algorithm>  // min
#include <optional>   // optional
#include <utility>    // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/preferences.hpp>

#include "encoded_blocks.hpp"
#include "examples.hpp"
#include "fields.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

bool take_label(json& object) {
  auto const found = object.find("label");
  if (found == object.end()) throw error("the key 'label' is missing; it says true for a completion to learn, false for one to avoid");
  json const label = std::move(*found);
  object.erase(found);
  if (label.is_boolean()) return label.get<bool>();
  if (label.is_number() && (label == 0 || label == 1)) return label == 1;
  throw error("label is " + label.dump() + "; it has to be true or false (or 1 or 0)");
}

unpaired_example parse_labelled(json_line line) {
  unpaired_example out;
  refuse_media(line.object);
  out.prompt = take_field(line.object, "prompt");
  out.completion = take_field(line.object, "completion");
  if (out.prompt.is_string() != out.completion.is_string()) throw error("prompt and completion have to be both texts or both lists of messages");
  out.desirable = take_label(line.object);
  take_system(line.object, out.prompt, {&out.completion});
  out.line = line.number;
  out.extra = std::move(line.object);
  out.place = std::move(line.place);
  return out;
}

oddities look_at(unpaired_example const& example) {
  oddities odd;
  if (repeats(example.prompt, example.completion)) odd.add(oddity::repeated_prompt);
  if (ends_with_other(example.completion)) odd.add(oddity::ends_with_other);
  return odd;
}

// What a line becomes, and what is odd about it.
struct encoded_line {
  std::vector<unpaired_ids> examples;
  oddities odd;
};

encoded_line encode_line(conversation_encoder const& encoder, unpaired_line const& line, std::size_t max_length, std::int64_t positions) {
  encoded_line out;
  out.odd = line.odd;
  for (unpaired_example const& example : line.examples) {
    unpaired_ids const& ids = out.examples.emplace_back(encode_unpaired(encoder, example, out.odd));
    std::size_t const tokens = ids.prompt.size() + ids.completion.size();
    if (max_length > 0 && tokens > max_length) out.odd.add(oddity::cut);
    if (positions > 0 && std::min(tokens, max_length > 0 ? max_length : tokens) > static_cast<std::size_t>(positions)) out.odd.add(oddity::beyond_positions);
  }
  return out;
}

// TRL's unpairing goes through a data set in such blocks.
constexpr std::size_t pairs_at_once = 1000;

std::vector<unpaired_ids> in_order(std::vector<encoded_line> lines) {
  std::vector<unpaired_ids> out;
  for (std::size_t first = 0; first < lines.size(); first += pairs_at_once)
    for (std::size_t which = 0; which < lines[first].examples.size(); ++which)
      for (std::size_t i = first; i < std::min(lines.size(), first + pairs_at_once); ++i) out.push_back(std::move(lines[i].examples[which]));
  return out;
}

}  // namespace

unpaired_line parse_unpaired(json_line line) {
  unpaired_line out;
  if (!line.object.contains("chosen") || !line.object.contains("rejected")) {
    out.examples.push_back(parse_labelled(std::move(line)));
    out.odd = look_at(out.examples.front());
  } else {
    preference_example const pair = parse_preference(std::move(line));
    out.examples.push_back({pair.prompt, pair.chosen, true, pair.line, pair.extra, pair.place});
    out.examples.push_back({pair.prompt, pair.rejected, false, pair.line, pair.extra, pair.place});
    out.odd = pair.odd;
  }
  out.place = out.examples.front().place;
  return out;
}

std::vector<unpaired_ids> read_unpaired(std::filesystem::path const& path, conversation_encoder const& encoder, reading const& how, std::size_t max_length,
                                        reading_report* report) {
  std::optional<std::size_t> made;  // examples of a line, as the first one is
  return in_order(read_in_blocks(
      path, how, data_kind::pairs, report,
      [&](json_line line) {
        unpaired_line out = parse_unpaired(std::move(line));
        if (made.value_or(out.examples.size()) != out.examples.size())
          throw error(out.examples.size() == 2 ? "a preference pair among single completions; keep them in files of their own"
                                               : "no preference pair, as the lines before it are; keep single completions in a file of their own");
        made = out.examples.size();
        return out;
      },
      [&](unpaired_line const& line) { return encode_line(encoder, line, max_length, how.positions); },
      [](unpaired_line&&, encoded_line&& line) { return std::move(line); }, [](encoded_line const&) { return true; }, [](json_line const&) {}));
}

unpaired_ids encode_unpaired(conversation_encoder const& encoder, unpaired_example const& example, oddities& odd) try {
  auto const prompt = encoder.encode(example.prompt, true, example.extra);
  auto const whole = encoder.encode(joined(example.prompt, encoder.with_end(example.completion)), false, example.extra);
  std::size_t const shared = common_prefix(prompt, whole);
  if (shared == whole.size()) throw error("the completion adds no token to the prompt");
  if (shared == 0) odd.add(oddity::empty_prompt);
  if (shared < prompt.size()) odd.add(oddity::dropped_prompt);
  if (encoder.loses_thinking(example.prompt, example.completion, example.extra)) odd.add(oddity::lost_thinking);
  auto const cut = whole.begin() + static_cast<std::ptrdiff_t>(shared);
  return {.prompt = {whole.begin(), cut}, .completion = {cut, whole.end()}, .desirable = example.desirable, .line = example.line};
} catch (error const& problem) {
  throw error(example.place + ": " + problem.what());
}

}  // namespace kedge::llm
