// SPDX-License-Identifier: Apache-2.0
#include <algorithm>      // any_of, all_of, sort, count_if
#include <bit>            // bit_width
#include <functional>     // hash
#include <numeric>        // accumulate
#include <optional>       // optional
#include <unordered_set>  // unordered_set
#include <utility>        // move
#include <variant>        // variant, visit

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/data/parallel.hpp>
#include <kedge/llm/data/report.hpp>

#include "../text/unicode.hpp"
#include "encoded_blocks.hpp"
#include "examples.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
using any_example = std::variant<preference_example, demonstration, prompt_example>;

/// An example of any kind: a prompt, which may be null, and completions.
struct example_parts {
  json prompt;
  std::vector<json> completions;
  json extra;
  std::size_t line = 0;
  oddities odd;
  std::string place;
};

/// What encoding an example tells.
struct example_tokens {
  std::vector<std::size_t> lengths;  ///< as the parts of the report
  bool truncated = false, dropped = false;
  std::string problem;  ///< why it can't be encoded; empty if it can
  oddities odd;
};

/// Content of a message or text; what is not text counts as something.
bool is_blank(json const& content) {
  if (content.is_null()) return true;
  return content.is_string() && content.get_ref<std::string const&>().find_first_not_of(" \t\r\n") == std::string::npos;
}

bool is_blank_completion(json const& completion) {
  if (completion.is_string()) return is_blank(completion);
  return std::all_of(completion.begin(), completion.end(), [](json const& message) {
    return is_blank(message.value("content", json{})) && !message.contains("tool_calls");
  });
}

bool has_role(json const& messages, std::string_view role) {
  return messages.is_array() &&
         std::any_of(messages.begin(), messages.end(), [&](json const& m) { return m.at("role") == role; });
}

/// Characters of a text, of the texts in a list of content parts, or of all contents of messages.
std::size_t characters(json const& value) {
  if (value.is_string()) return text::count_characters(value.get_ref<std::string const&>());
  std::size_t sum = 0;
  if (!value.is_array()) return sum;
  for (json const& element : value)
    for (char const* const key : {"content", "text"})
      if (element.is_object() && element.contains(key)) sum += characters(element.at(key));
  return sum;
}

data_kind kind_of(json const& line) {
  if (line.contains("chosen") && line.contains("rejected")) return data_kind::pairs;
  if (line.contains("completion") || line.contains("messages") || line.contains("text")) return data_kind::demonstrations;
  if (line.contains("prompt")) return data_kind::prompts;
  throw error(
      "the line has none of the keys of pairs ('chosen', 'rejected'), demonstrations ('completion', 'messages', 'text') "
      "or prompts ('prompt')");
}

std::vector<std::string> part_names(data_kind kind) {
  if (kind == data_kind::pairs) return {"prompt", "chosen", "rejected"};
  if (kind == data_kind::demonstrations) return {"prompt", "completion"};
  return {"prompt"};
}

/// Counts examples as they come by, and keeps none.
class reporter {
 public:
  reporter(data_kind kind, bool has_tokens, std::filesystem::path const& path)
      : odd_(path), names_(part_names(kind)), characters_(names_.size()), tokens_(names_.size()) {
    report_.kind = kind;
    report_.has_tokens = has_tokens;
  }

  void add(example_parts const& example) {
    ++report_.examples;
    std::string text = example.prompt.dump();
    prompts_.insert(std::hash<std::string>{}(text));
    for (json const& completion : example.completions) text += '\n' + completion.dump();
    if (!examples_.insert(std::hash<std::string>{}(text)).second) report_.repeated.push_back(example.line);
    look_at_completions(example);
    json const& start = example.prompt.is_null() ? example.completions.front() : example.prompt;
    report_.conversations += start.is_array() ? 1U : 0U;
    report_.with_system += has_role(start, "system") ? 1U : 0U;
    report_.several_turns += has_several_turns(example) ? 1U : 0U;
    look_at_scores(example);
    characters_[0].push_back(characters(example.prompt));
    for (std::size_t i = 0; i < example.completions.size(); ++i) characters_[i + 1].push_back(characters(example.completions[i]));
  }

  /// What is odd by its tokens includes what is odd by its keys.
  void add(oddities odd, std::string const& place) {
    for (oddity const own : {oddity::cut, oddity::dropped_prompt, oddity::same_completions}) odd.remove(own);  // lines of their own
    odd_.add(odd, place);
  }

  void add(example_tokens const& encoded) {
    for (std::size_t i = 0; i < encoded.lengths.size(); ++i) tokens_[i].push_back(encoded.lengths[i]);
    report_.truncated += encoded.truncated ? 1U : 0U;
    report_.dropped += encoded.dropped ? 1U : 0U;
    if (!encoded.problem.empty()) add_bad(encoded.problem);
  }

  void add_bad(std::string const& reason) {
    constexpr std::size_t told = 10;
    if (++report_.bad <= told) report_.bad_reasons.push_back(reason);
  }

  data_report take(json_line_reader const& reader) {
    report_.bad_reasons.insert(report_.bad_reasons.begin(), reader.problems().begin(), reader.problems().end());
    report_.bad += reader.skipped();
    report_.notes = reader.notes();
    for (std::string& note : odd_.notes()) report_.notes.push_back(std::move(note));
    report_.prompts = prompts_.size();
    for (std::size_t i = 0; i < names_.size(); ++i)
      report_.parts.push_back({names_[i], summarise_lengths(std::move(characters_[i])), summarise_lengths(std::move(tokens_[i]))});
    return std::move(report_);
  }

 private:
  static bool has_several_turns(example_parts const& example) {
    if (!example.prompt.is_null()) return has_role(example.prompt, "assistant");
    json const& whole = example.completions.front();
    return whole.is_array() &&
           std::count_if(whole.begin(), whole.end(), [](json const& m) { return m.at("role") == "assistant"; }) > 1;
  }

  void look_at_completions(example_parts const& example) {
    auto const& completions = example.completions;
    bool const blank = completions.empty() ? is_blank_completion(example.prompt)
                                           : std::any_of(completions.begin(), completions.end(), is_blank_completion);
    if (blank) report_.empty.push_back(example.line);
    if (completions.size() < 2) return;
    if (completions[0] == completions[1]) report_.identical.push_back(example.line);
    report_.chosen_longer += characters(completions[0]) > characters(completions[1]) ? 1U : 0U;
  }

  void look_at_scores(example_parts const& example) {
    auto const better = example.extra.find("score_chosen");
    auto const worse = example.extra.find("score_rejected");
    if (better == example.extra.end() || worse == example.extra.end() || !better->is_number() || !worse->is_number()) return;
    ++report_.with_scores;
    if (better->get<double>() < worse->get<double>()) report_.reversed.push_back(example.line);
  }

  data_report report_;
  oddity_counts odd_;
  std::vector<std::string> names_;
  std::vector<std::vector<std::size_t>> characters_, tokens_;
  std::unordered_set<std::size_t> prompts_, examples_;
};

example_parts parts_of(preference_example const& e) { return {e.prompt, {e.chosen, e.rejected}, e.extra, e.line, e.odd, e.place}; }
example_parts parts_of(demonstration const& e) { return {e.prompt, {e.completion}, e.extra, e.line, e.odd, e.place}; }
example_parts parts_of(prompt_example const& e) { return {e.prompt, {}, e.extra, e.line, {}, e.place}; }

class encoders {
 public:
  explicit encoders(report_tokens const& s)
      : pairs_(s.words, s.templating, s.variables, s.max_length), texts_(s.words, s.templating, s.variables), longest_(s.max_length) {}

  example_tokens operator()(preference_example const& e) const {
    preference_pair const pair = pairs_.encode(e);
    return {{pair.prompt.size(), pair.chosen.size(), pair.rejected.size()}, pair.truncated, pair.dropped_prompt_tokens > 0, {}, pair.odd};
  }
  example_tokens operator()(demonstration const& e) const {
    demonstration_ids const ids = encode_demonstration(texts_, e, {.max_length = longest_});
    return {{ids.learned_from, ids.tokens.size() - ids.learned_from}, ids.truncated, ids.dropped_prompt_tokens > 0, {}, ids.odd};
  }
  example_tokens operator()(prompt_example const& e) const { return {{encode_prompt(texts_, e).size()}, false, false, {}, {}}; }

 private:
  pair_encoder pairs_;
  conversation_encoder texts_;
  std::size_t longest_;
};

void add_block(reporter& to, std::vector<any_example> const& block, encoders const* encode) {
  std::vector<example_parts> parts;
  for (any_example const& example : block) to.add(parts.emplace_back(std::visit([](auto const& e) { return parts_of(e); }, example)));
  std::vector<example_tokens> encoded(block.size());
  std::size_t none = 0;
  if (encode != nullptr)
    encoded = parallel_map(block.size(), 0, false, none, [&](std::size_t i) {
      try {
        return std::visit(*encode, block[i]);
      } catch (error const& problem) {
        return example_tokens{{}, false, false, problem.what(), {}};
      }
    });
  for (std::size_t i = 0; i < block.size(); ++i) {
    if (encode != nullptr) to.add(encoded[i]);
    parts[i].odd.add(encoded[i].odd);
    to.add(parts[i].odd, parts[i].place);
  }
}

any_example parse(data_kind kind, json_line line) {
  if (kind == data_kind::pairs) return parse_preference(std::move(line));
  if (kind == data_kind::demonstrations) return parse_demonstration(std::move(line));
  return parse_prompt(std::move(line));
}

json to_json(length_summary const& lengths) {
  return {{"least", lengths.least}, {"median", lengths.median}, {"percentile_95", lengths.percentile_95},
          {"most", lengths.most},   {"mean", lengths.mean},     {"histogram", lengths.histogram}};
}

}  // namespace

length_summary summarise_lengths(std::vector<std::size_t> lengths) {
  length_summary out;
  if (lengths.empty()) return out;
  std::sort(lengths.begin(), lengths.end());
  auto const rank = [&](std::size_t percent) { return lengths[(lengths.size() * percent + 99) / 100 - 1]; };
  out.least = lengths.front();
  out.median = rank(50);
  out.percentile_95 = rank(95);
  out.most = lengths.back();
  out.mean = std::accumulate(lengths.begin(), lengths.end(), 0.0) / static_cast<double>(lengths.size());
  out.histogram.resize(static_cast<std::size_t>(std::bit_width(out.most)) + 1);
  for (auto const length : lengths) ++out.histogram[static_cast<std::size_t>(std::bit_width(length))];
  return out;
}

data_report report_on_file(std::filesystem::path const& path, report_tokens const* tokens, reading how) {
  constexpr std::size_t block_size = 4096;
  std::optional<encoders> encode;
  if (tokens != nullptr) encode.emplace(*tokens);
  how.skip_bad_lines = true;
  json_line_reader lines(path, how);
  std::optional<data_kind> kind;
  std::optional<reporter> report;
  std::vector<any_example> block;
  for (bool more = true; more;) {
    more = lines.next([&](json_line line) {
      data_kind const of_file = kind ? *kind : kind_of(line.object);
      block.push_back(parse(of_file, std::move(line)));
      kind = of_file;
    });
    if (more && block.size() < block_size) continue;
    if (!report) report.emplace(*kind, encode.has_value(), path);
    add_block(*report, block, encode ? &*encode : nullptr);
    block.clear();
  }
  return report->take(lines);
}

json to_json(data_report const& report) {
  json out = {{"kind", name_of(report.kind)},
              {"examples", report.examples},
              {"conversations", report.conversations},
              {"with_system", report.with_system},
              {"several_turns", report.several_turns},
              {"with_scores", report.with_scores},
              {"prompts", report.prompts},
              {"chosen_longer", report.chosen_longer},
              {"repeated", report.repeated},
              {"identical", report.identical},
              {"empty", report.empty},
              {"reversed", report.reversed}};
  for (part_report const& part : report.parts) out["characters"][part.name] = to_json(part.characters);
  if (report.has_tokens) {
    for (part_report const& part : report.parts) out["tokens"][part.name] = to_json(part.tokens);
    out["truncated"] = report.truncated;
    out["dropped"] = report.dropped;
  }
  out["notes"] = report.notes;
  out["bad"] = report.bad;
  out["bad_reasons"] = report.bad_reasons;
  return out;
}

}  // namespace kedge::llm
