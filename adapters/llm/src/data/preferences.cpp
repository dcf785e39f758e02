// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // min
#include <cmath>      // isnan
#include <utility>    // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/data/parallel.hpp>
#include <kedge/llm/data/preferences.hpp>

#include "encoded_blocks.hpp"
#include "examples.hpp"
#include "fields.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

/// Length in bytes of the character that starts at `at`.
std::size_t character(std::string const& text, std::size_t at) {
  std::size_t end = at + 1;
  while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) ++end;
  return end - at;
}

/// Byte at which two texts part, by the rule of read_preferences.
std::size_t parting(std::string const& a, std::string const& b) {
  std::size_t at = 0;
  std::size_t last = 0;
  while (at < a.size() && at < b.size()) {
    std::size_t const length = character(a, at);
    if (a.compare(at, length, b, at, character(b, at)) != 0) return at > 0 && a[last] == ' ' ? last : at;
    last = at;
    at += length;
  }
  return last;
}

/// Index of the message at which two conversations part.
std::size_t parting(json const& a, json const& b) {
  std::size_t const shorter = std::min(a.size(), b.size());
  for (std::size_t i = 0; i < shorter; ++i)
    if (!same_content(a[i], b[i])) return i;
  return shorter - 1;
}

json tail(json const& messages, std::size_t from) {
  json out = json::array();
  for (std::size_t i = from; i < messages.size(); ++i) out.push_back(messages[i]);
  return out;
}

void extract_prompt(preference_example& pair) {
  if (pair.chosen.is_string()) {
    std::string const chosen = pair.chosen;
    std::string const rejected = pair.rejected;
    std::size_t const cut = parting(chosen, rejected);
    pair.prompt = chosen.substr(0, cut);
    pair.chosen = chosen.substr(cut);
    pair.rejected = rejected.substr(cut);
    return;
  }
  std::size_t const cut = parting(pair.chosen, pair.rejected);
  if (cut == 0) throw error("there is no prompt, and chosen and rejected begin with different messages");
  json prompt = json::array();
  for (std::size_t i = 0; i < cut; ++i) prompt.push_back(pair.chosen[i]);
  pair.prompt = std::move(prompt);
  pair.chosen = tail(pair.chosen, cut);
  pair.rejected = tail(pair.rejected, cut);
}

/// Texts that have nothing in common, beside a key that looks like the question: without it the answers would be learned to nothing.
void refuse_other_question(json const& object) {
  for (char const* const key : {"question", "instruction", "query", "input", "messages", "conversations", "conversation"})
    if (object.contains(key) && !object.at(key).empty())
      throw error(std::string("there is no prompt, and chosen and rejected begin differently; is it the key '") + key + "'? Call it 'prompt'");
}

double score(json const& extra, char const* key) {
  auto const found = extra.find(key);
  return found != extra.end() && found->is_number() ? found->get<double>() : std::numeric_limits<double>::quiet_NaN();
}

bool is_no_number(json const& extra, char const* key) {
  auto const found = extra.find(key);
  return found != extra.end() && !found->is_null() && !found->is_number();
}

oddities look_at(preference_example const& pair) {
  oddities odd;
  if (repeats(pair.prompt, pair.chosen) || repeats(pair.prompt, pair.rejected)) odd.add(oddity::repeated_prompt);
  if (ends_with_other(pair.chosen) || ends_with_other(pair.rejected)) odd.add(oddity::ends_with_other);
  if (is_no_number(pair.extra, "score_chosen") || is_no_number(pair.extra, "score_rejected")) odd.add(oddity::score_is_no_number);
  if (is_no_number(pair.extra, "margin")) odd.add(oddity::margin_is_no_number);
  return odd;
}

/// What of prompt + completion stays within a length.
struct kept {
  std::vector<std::int32_t> completion;
  std::size_t cut = 0;  ///< leading tokens of the prompt that go
};

/// `prompt`: how many of the ids are the prompt's
kept within(std::vector<std::int32_t> const& ids, std::size_t prompt, std::size_t longest, truncation_mode mode, char const* what) {
  if (ids.size() == prompt) throw error(std::string{what} + " adds no token to the prompt");
  std::size_t const over = longest == 0 || ids.size() <= longest ? 0 : ids.size() - longest;
  kept out;
  if (mode == truncation_mode::keep_end) out.cut = std::min(over, prompt);
  auto const at = [&](std::size_t i) { return ids.begin() + static_cast<std::ptrdiff_t>(i); };
  if (mode == truncation_mode::keep_end)
    out.completion.assign(at(prompt + over - out.cut), ids.end());
  else
    out.completion.assign(at(prompt), at(ids.size() - over));
  return out;
}

/// The numbers of a line, and where it stands.
void read_numbers(preference_example const& example, preference_pair& out) {
  out.line = example.line;
  out.index = example.index;
  out.score_chosen = score(example.extra, "score_chosen");
  out.score_rejected = score(example.extra, "score_rejected");
  out.margin = score(example.extra, "margin");
  out.ref_chosen = number_or_nan(example.extra, "ref_chosen_logps");
  out.ref_rejected = number_or_nan(example.extra, "ref_rejected_logps");
  if (std::isnan(out.ref_chosen) != std::isnan(out.ref_rejected))
    throw error("ref_chosen_logps and ref_rejected_logps go together; give both or neither");
}

}  // namespace

preference_example parse_preference(json_line line) {
  preference_example out;
  out.line = line.number;
  out.place = std::move(line.place);
  refuse_media(line.object);
  bool const has_prompt = line.object.contains("prompt");
  if (!line.object.contains("chosen") && line.object.contains("completion") && line.object.contains("label"))
    throw error("a single completion with a label, where a preference pair is wanted; kedge kto trains on such lines");
  out.chosen = take_field(line.object, "chosen");
  out.rejected = take_field(line.object, "rejected");
  if (has_prompt) out.prompt = take_field(line.object, "prompt");
  bool const texts = out.chosen.is_string();
  if (out.rejected.is_string() != texts || (has_prompt && out.prompt.is_string() != texts))
    throw error("prompt, chosen and rejected have to be all texts or all lists of messages");
  if (!has_prompt && texts && line.object.contains("system")) throw error("a line with the key 'system' needs a prompt of its own");
  if (!has_prompt) extract_prompt(out);
  if (!has_prompt && texts && out.prompt == "") refuse_other_question(line.object);
  take_system(line.object, out.prompt, {&out.chosen, &out.rejected});
  out.extra = std::move(line.object);
  out.index = line.index;
  out.odd = look_at(out);
  return out;
}

std::vector<preference_example> read_preferences(std::filesystem::path const& path, bool skip_bad_lines, std::size_t* skipped) {
  std::vector<preference_example> out;
  std::size_t const bad = read_json_lines(path, skip_bad_lines, [&](json_line line) { out.push_back(parse_preference(std::move(line))); });
  if (skipped != nullptr) *skipped = bad;
  return out;
}

bool have_reference(std::span<preference_pair const> pairs) {
  if (pairs.empty()) return false;
  bool const first = !std::isnan(pairs.front().ref_chosen);
  for (preference_pair const& pair : pairs)
    if (std::isnan(pair.ref_chosen) == first)
      throw error("line " + std::to_string(pair.line) + (first ? " has no" : " has") + " ref_chosen_logps and ref_rejected_logps, and line " +
                  std::to_string(pairs.front().line) + (first ? " has them" : " has none") + "; give them on every line, or on none");
  return first;
}

std::vector<preference_pair> read_pairs(std::filesystem::path const& path, pair_encoder const& encoder, reading const& how, reading_report* report,
                                        line_reader const& look, pair_filter const& keep) {
  return read_in_blocks(
      path, how, data_kind::pairs, report, parse_preference, [&](preference_example const& example) { return encoder.encode(example); },
      [&](preference_example&&, preference_pair&& pair) {
        if (how.positions > 0 && pair.prompt.size() + std::max(pair.chosen.size(), pair.rejected.size()) > static_cast<std::size_t>(how.positions))
          pair.odd.add(oddity::beyond_positions);
        return std::move(pair);
      },
      [&](preference_pair const& pair) { return !keep || keep(pair); },
      [&](json_line const& line) {
        if (look) look(line);
      });
}

pair_encoder::pair_encoder(tokenizer const& words, chat_template const* templating, json variables, std::size_t max_length, truncation_mode truncation)
    : encoder_(words, templating, std::move(variables)), max_length_(max_length), truncation_(truncation) {}

preference_pair pair_encoder::encode(preference_example const& example) const try {
  auto const prompt = encoder_.encode(example.prompt, true, example.extra);
  auto const chosen = encoder_.encode(joined(example.prompt, encoder_.with_end(example.chosen)), false, example.extra);
  auto const rejected = encoder_.encode(joined(example.prompt, encoder_.with_end(example.rejected)), false, example.extra);
  std::size_t const shared = std::min(common_prefix(prompt, chosen), common_prefix(prompt, rejected));
  if (max_length_ > 0 && shared >= max_length_ && truncation_ == truncation_mode::keep_start)
    throw error("the prompt has " + std::to_string(shared) + " tokens, which leaves no room for a completion within max_length " +
                std::to_string(max_length_) + "; raise --max_length, cut the prompt (--truncation_mode keep_end), or drop the line");
  preference_pair out;
  kept better = within(chosen, shared, max_length_, truncation_, "chosen"), worse = within(rejected, shared, max_length_, truncation_, "rejected");
  std::size_t const both = std::min(better.cut, worse.cut);
  out.truncated = std::max(chosen.size(), rejected.size()) > max_length_ && max_length_ > 0;
  out.prompt.assign(prompt.begin() + static_cast<std::ptrdiff_t>(both), prompt.begin() + static_cast<std::ptrdiff_t>(shared));
  out.cut_for_chosen = better.cut - both;
  out.cut_for_rejected = worse.cut - both;
  out.chosen = std::move(better.completion);
  out.rejected = std::move(worse.completion);
  read_numbers(example, out);
  out.dropped_prompt_tokens = prompt.size() - shared;
  out.odd = example.odd;
  if (shared == 0) out.odd.add(oddity::empty_prompt);
  if (out.dropped_prompt_tokens > 0) out.odd.add(oddity::dropped_prompt);
  if (out.truncated) out.odd.add(oddity::cut);
  if (chosen == rejected) out.odd.add(oddity::same_completions);
  if (encoder_.loses_thinking(example.prompt, example.chosen, example.extra)) out.odd.add(oddity::lost_thinking);
  return out;
} catch (error const& problem) {
  throw error((example.place.empty() ? "line " + std::to_string(example.line) : example.place) + ": " + problem.what());
}

std::vector<preference_pair> encode_preferences(pair_encoder const& encoder, std::span<preference_example const> examples,
                                                bool skip_bad_lines, std::size_t* skipped, unsigned threads) {
  std::size_t bad = 0;
  auto out =
      parallel_map(examples.size(), threads, skip_bad_lines, bad, [&](std::size_t i) { return encoder.encode(examples[i]); });
  if (skipped != nullptr) *skipped = bad;
  return out;
}

}  // namespace kedge::llm
