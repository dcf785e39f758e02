// SPDX-License-Identifier: Apache-2.0
#include "schema_reader.hpp"

#include <algorithm>  // stable_sort
#include <utility>    // move

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

// What a line has beside its shape's keys and is read, or refused, whatever the shape.
constexpr char const* carried[] = {"tools",
                                   "chat_template_kwargs",
                                   "margin",
                                   "ref_chosen_logps",
                                   "ref_rejected_logps",
                                   "images",
                                   "image",
                                   "videos",
                                   "video",
                                   "audios",
                                   "audio"};

bool is_plain(json const& value) {
  return value.is_string() ||
         (value.is_array() && !value.empty() && value.front().is_object() && value.front().contains("role"));
}

// Whether TRL's own keys are there.
bool has_own_keys(json const& line, data_kind kind) {
  auto const has = [&](char const* key) { return line.contains(key) && is_plain(line[key]); };
  if (kind == data_kind::prompts) return has("prompt");
  return kind == data_kind::demonstrations && (has("messages") || has("text") || (has("prompt") && has("completion")));
}

std::string flags_of(schema const& shape, bool ranked) {
  return "--dataset_format " + std::string(name_of(shape.format)) +
         (ranked ? " --ranked_pairs best-worst (or adjacent, all)" : "");
}

// A name with its quotes, and the line's number after it: the file alone.
std::string file_of(std::string const& place) { return place.substr(0, place.rfind(':')); }

[[noreturn]] void ask(schema const& shape, std::optional<data_kind> wanted, bool ranked, std::string const& place) {
  std::string const name(name_of(shape.format));
  std::string const what = wanted == data_kind::demonstrations ? "that the best answer is learned" : shape.choice;
  throw error("the lines look like the format " + name + "; say " + what + ": " + flags_of(shape, ranked) +
              "; or write lines with TRL's keys first: kedge convert " + file_of(place) + " " + flags_of(shape, false) +
              (wanted == data_kind::demonstrations ? " --to demonstrations" : "") + " --output converted.jsonl");
}

// The conversation up to the last answer of the assistant's.
json before_answer(json conversation) {
  while (!conversation.empty() && conversation.back().value("role", "") == "assistant")
    conversation.erase(conversation.size() - 1);
  return conversation;
}

}  // namespace

schema const* schema_of(data_format format) {
  for (schema const* const one : all_schemas())
    if (one->format == format) return one;
  return nullptr;
}

void schema_reader::decide(json_line const& line) {
  decided_ = true;
  shape_ = schema_of(how_.format);
  if (how_.format != data_format::automatic || (wanted_ && has_own_keys(line.object, *wanted_))) return;
  for (schema const* const one : all_schemas()) {
    likeness const like = one->looks(line.object);
    if (like == likeness::none) continue;
    if (like == likeness::also_plain) {
      note_ = "the texts are transcripts, and learned as texts; " + flags_of(*one, false) + " makes conversations of them";
      return;
    }
    std::size_t const answers = one->read(line.object).answers.size();
    bool const pairs = one->joins || answers > 1;
    if (wanted_ == data_kind::pairs && !pairs) return;
    if (wanted_ && (like == likeness::choice || (wanted_ == data_kind::demonstrations && pairs)) &&
        *wanted_ != data_kind::prompts)
      ask(*one, wanted_,
          wanted_ == data_kind::pairs && (one->joins || answers > 2 || like == likeness::choice) &&
              one->format != data_format::orca,
          line.place);
    shape_ = one;
    note_ = "read in the format " + std::string(name_of(one->format)) + ", as the keys of the first line say";
    return;
  }
}

void schema_reader::add(json_line line) {
  if (!decided_) decide(line);
  if (shape_ == nullptr) {
    made_.push_back(std::move(line));
    return;
  }
  ranked_answers what;
  try {
    what = shape_->read(line.object);
  } catch (error const& problem) {
    throw error(std::string(problem.what()) + " (read in the format " + std::string(name_of(shape_->format)) + ")");
  }
  if (!shape_->joins || what.answers.size() > 1) return make(what, line);
  if (open_ && open_->prompt == what.prompt) {
    open_->answers.push_back(std::move(what.answers.front()));
    return;
  }
  finish();
  open_ = std::move(what);
  first_ = std::move(line);
}

void schema_reader::finish() {
  if (!open_) return;
  ranked_answers const what = *std::exchange(open_, std::nullopt);
  make(what, first_);
}

bool schema_reader::take(json_line& object) {
  if (made_.empty()) return false;
  object = std::move(made_.front());
  made_.pop_front();
  return true;
}

std::vector<std::string> schema_reader::notes() const {
  std::vector<std::string> all;
  if (!note_.empty()) all.push_back(note_);
  if (ties_ > 0)
    all.push_back(std::to_string(ties_) + (ties_ == 1 ? " example makes" : " examples make") + " no pair, first at line " +
                  std::to_string(first_tie_) + ": no completion is better than another");
  return all;
}

void schema_reader::put(json object, json_line const& line) {
  for (char const* const key : carried)
    if (line.object.contains(key) && !object.contains(key)) object[key] = line.object[key];
  made_.push_back({std::move(object), line.number, line.place, 0});
}

void schema_reader::make(ranked_answers const& what, json_line const& line) {
  data_kind const kind = wanted_                                    ? *wanted_
                         : what.answers.size() > 1 || shape_->joins ? data_kind::pairs
                                                                    : data_kind::demonstrations;
  if (kind == data_kind::pairs) return make_pairs(what, line);
  if (kind == data_kind::prompts)
    return put({{"prompt", what.prompt.is_null() ? before_answer(what.answers.front().content) : what.prompt}}, line);
  answer const* best = &what.answers.front();
  for (answer const& one : what.answers)
    if (one.rank > best->rank) best = &one;
  if (what.prompt.is_null())
    put({{"messages", best->content}}, line);
  else
    put({{"prompt", what.prompt}, {"completion", best->content}}, line);
}

void schema_reader::make_pairs(ranked_answers const& what, json_line const& line) {
  std::vector<answer> sorted = what.answers;
  std::stable_sort(sorted.begin(), sorted.end(), [](answer const& a, answer const& b) { return a.rank > b.rank; });
  std::size_t made = 0;
  auto const pair = [&](answer const& better, answer const& worse) {
    if (!(better.rank > worse.rank)) return;
    ++made;
    json object = json::object();
    if (!what.prompt.is_null()) object["prompt"] = what.prompt;
    object["chosen"] = better.content;
    object["rejected"] = worse.content;
    if (better.score && worse.score) object["score_chosen"] = *better.score;
    if (better.score && worse.score) object["score_rejected"] = *worse.score;
    put(std::move(object), line);
  };
  if (how_.pairs == ranked_pairs::best_worst) pair(sorted.front(), sorted.back());
  if (how_.pairs == ranked_pairs::adjacent)
    for (std::size_t i = 0; i + 1 < sorted.size(); ++i) pair(sorted[i], sorted[i + 1]);
  if (how_.pairs == ranked_pairs::all)
    for (std::size_t i = 0; i < sorted.size(); ++i)
      for (std::size_t j = i + 1; j < sorted.size(); ++j) pair(sorted[i], sorted[j]);
  if (made == 0 && ties_++ == 0) first_tie_ = line.number;
}

}  // namespace kedge::llm
