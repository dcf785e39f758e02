// SPDX-License-Identifier: Apache-2.0
#include <algorithm>      // any_of, sort
#include <bit>            // bit_width
#include <numeric>        // accumulate
#include <string>         // string
#include <unordered_set>  // unordered_set
#include <utility>        // move

#include <kedge/llm/data/report.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

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

template <class Tokens>
length_summary lengths_of(std::span<preference_pair const> pairs, Tokens tokens) {
  std::vector<std::size_t> lengths;
  lengths.reserve(pairs.size());
  for (auto const& pair : pairs) lengths.push_back(tokens(pair).size());
  return summarise_lengths(std::move(lengths));
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

preference_report report_on(std::span<preference_example const> examples, std::span<preference_pair const> encoded) {
  preference_report out;
  out.pairs = examples.size();
  std::unordered_set<std::string> prompts;
  std::unordered_set<std::string> pairs;
  for (auto const& example : examples) {
    std::string const prompt = example.prompt.dump();
    prompts.insert(prompt);
    if (!pairs.insert(prompt + '\n' + example.chosen.dump() + '\n' + example.rejected.dump()).second)
      out.repeated.push_back(example.line);
    if (example.chosen == example.rejected) out.identical.push_back(example.line);
    if (is_blank_completion(example.chosen) || is_blank_completion(example.rejected)) out.empty.push_back(example.line);
    out.conversations += example.prompt.is_array() ? 1U : 0U;
    out.with_system += has_role(example.prompt, "system") ? 1U : 0U;
    out.several_turns += has_role(example.prompt, "assistant") ? 1U : 0U;
    auto const better = example.extra.find("score_chosen");
    auto const worse = example.extra.find("score_rejected");
    if (better == example.extra.end() || worse == example.extra.end() || !better->is_number() || !worse->is_number()) continue;
    ++out.with_scores;
    if (better->get<double>() < worse->get<double>()) out.reversed.push_back(example.line);
  }
  out.prompts = prompts.size();
  out.prompt = lengths_of(encoded, [](auto const& pair) { return std::span{pair.prompt}; });
  out.chosen = lengths_of(encoded, [](auto const& pair) { return std::span{pair.chosen}; });
  out.rejected = lengths_of(encoded, [](auto const& pair) { return std::span{pair.rejected}; });
  for (auto const& pair : encoded) out.truncated += pair.truncated ? 1U : 0U;
  return out;
}

json to_json(preference_report const& report) {
  return {{"pairs", report.pairs},
          {"conversations", report.conversations},
          {"with_system", report.with_system},
          {"several_turns", report.several_turns},
          {"with_scores", report.with_scores},
          {"prompts", report.prompts},
          {"repeated", report.repeated},
          {"identical", report.identical},
          {"empty", report.empty},
          {"reversed", report.reversed},
          {"prompt", to_json(report.prompt)},
          {"chosen", to_json(report.chosen)},
          {"rejected", to_json(report.rejected)},
          {"truncated", report.truncated}};
}

}  // namespace kedge::llm
