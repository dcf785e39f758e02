// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // min
#include <cmath>      // isnan
#include <iterator>   // make_move_iterator
#include <utility>    // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/data/parallel.hpp>
#include <kedge/llm/data/preferences.hpp>

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

/// What is left of the ids after the shared prompt, within `room` tokens.
std::vector<std::int32_t> completion(std::vector<std::int32_t> const& ids, std::size_t prompt, std::size_t room,
                                     bool& truncated, char const* what) {
  if (ids.size() == prompt) throw error(std::string{what} + " adds no token to the prompt");
  std::size_t const length = std::min(ids.size() - prompt, room);
  truncated = truncated || length < ids.size() - prompt;
  auto const begin = ids.begin() + static_cast<std::ptrdiff_t>(prompt);
  return {begin, begin + static_cast<std::ptrdiff_t>(length)};
}

}  // namespace

preference_example parse_preference(json_line line) {
  preference_example out;
  out.line = line.number;
  out.place = std::move(line.place);
  refuse_media(line.object);
  bool const has_prompt = line.object.contains("prompt");
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

std::vector<preference_pair> read_pairs(std::filesystem::path const& path, pair_encoder const& encoder, bool skip_bad_lines,
                                        std::size_t* skipped, unsigned threads, line_reader const& look) {
  constexpr std::size_t block = 4096;
  json_line_reader reader(path, skip_bad_lines);
  std::vector<preference_example> examples;
  std::vector<preference_pair> out;
  std::size_t unencoded = 0;
  for (bool more = true; more;) {
    more = reader.next([&](json_line line) {
      if (look) look(line);
      examples.push_back(parse_preference(std::move(line)));
    });
    if (more && examples.size() < block) continue;
    std::size_t bad = 0;
    auto pairs = encode_preferences(encoder, examples, skip_bad_lines, &bad, threads);
    out.insert(out.end(), std::make_move_iterator(pairs.begin()), std::make_move_iterator(pairs.end()));
    unencoded += bad;
    examples.clear();
  }
  if (skipped != nullptr) *skipped = reader.skipped() + unencoded;
  return out;
}

pair_encoder::pair_encoder(tokenizer const& words, chat_template const* templating, json variables, std::size_t max_length)
    : encoder_(words, templating, std::move(variables)), max_length_(max_length) {}

preference_pair pair_encoder::encode(preference_example const& example) const try {
  auto const prompt = encoder_.encode(example.prompt, true, example.extra);
  auto const chosen = encoder_.encode(joined(example.prompt, encoder_.with_end(example.chosen)), false, example.extra);
  auto const rejected = encoder_.encode(joined(example.prompt, encoder_.with_end(example.rejected)), false, example.extra);
  std::size_t const shared = std::min(common_prefix(prompt, chosen), common_prefix(prompt, rejected));
  std::size_t const room =
      max_length_ == 0 ? std::numeric_limits<std::size_t>::max() : max_length_ - std::min(max_length_, shared);
  if (room == 0)
    throw error("the prompt has " + std::to_string(shared) +
                " tokens, which leaves no room for a completion within max_length " + std::to_string(max_length_) +
                "; raise --max_length or drop the line");
  preference_pair out;
  out.prompt.assign(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(shared));
  out.chosen = completion(chosen, shared, room, out.truncated, "chosen");
  out.rejected = completion(rejected, shared, room, out.truncated, "rejected");
  out.line = example.line;
  out.score_chosen = score(example.extra, "score_chosen");
  out.score_rejected = score(example.extra, "score_rejected");
  out.ref_chosen = number_or_nan(example.extra, "ref_chosen_logps");
  out.ref_rejected = number_or_nan(example.extra, "ref_rejected_logps");
  if (std::isnan(out.ref_chosen) != std::isnan(out.ref_rejected))
    throw error("ref_chosen_logps and ref_rejected_logps go together; give both or neither");
  out.margin = score(example.extra, "margin");
  out.dropped_prompt_tokens = prompt.size() - shared;
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
