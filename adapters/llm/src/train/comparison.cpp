// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <utility>

#include <kedge/llm/hub/hub_name.hpp>
#include <kedge/llm/train/comparing.hpp>

#include "../text/unicode.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
using numbers = std::vector<double>;

double mean(numbers const& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double mean_length(answers const& all) {
  double sum = 0;
  for (std::string const& text : all.texts) sum += static_cast<double>(text::count_characters(text));
  return sum / static_cast<double>(all.texts.size());
}

// A mean over prompts of what `of` says of each side's answers.
template <class Of>
both both_of(comparison const& compared, Of&& of) {
  numbers a, b;
  for (compared_prompt const& p : compared.prompts) a.push_back(of(p.a)), b.push_back(of(p.b));
  return {mean_of(a), mean_of(b)};
}

json json_of(estimate const& e) { return {{"value", e.value}, {"low", e.low}, {"high", e.high}, {"stderr", e.error}}; }
json json_of(std::optional<estimate> const& e) { return e ? json_of(*e) : json(); }
json json_of(both const& e) { return {{"a", json_of(e.a)}, {"b", json_of(e.b)}}; }

// The answer whose reward is nearest to the mean of all.
std::string const& typical(answers const& all) {
  double const middle = mean(all.rewards);
  auto const nearest = std::min_element(all.rewards.begin(), all.rewards.end(),
                                        [&](double x, double y) { return std::abs(x - middle) < std::abs(y - middle); });
  return all.texts[static_cast<std::size_t>(nearest - all.rewards.begin())];
}

template <class... Values>
std::string formatted(char const* form, Values... values) {
  std::array<char, 256> text{};
  std::snprintf(text.data(), text.size(), form, values...);
  return text.data();
}

// "0.1234 ± 0.0056"
std::string with_error(estimate const& e) { return formatted("%.4g \xc2\xb1 %.2g", e.value, e.error); }

// A row of the table; ± is two bytes and one column.
std::string row(char const* name, both const& e) {
  return formatted("%-24s %-23s %-23s", name, with_error(e.a).c_str(), with_error(e.b).c_str());
}

std::string percent(estimate const& e) { return formatted("%5.1f %%  [%.1f, %.1f]", 100 * e.value, 100 * e.low, 100 * e.high); }

// One line of at most so many characters.
std::string shortened(std::string const& text, double most) {
  std::string line;
  double count = 0;
  for (char const c : text) {
    bool const begins = (static_cast<unsigned char>(c) & 0xc0U) != 0x80U;
    if (begins && ++count > most) return line + "\xe2\x80\xa6";
    line += c == '\n' || c == '\r' || c == '\t' ? ' ' : c;
  }
  return line;
}

// What was asked: a text, or the last message.
std::string question(json const& prompt) {
  if (prompt.is_string()) return prompt.get<std::string>();
  json const& last = prompt.is_array() && !prompt.empty() ? prompt.back() : prompt;
  bool const plain = last.is_object() && last.contains("content") && last["content"].is_string();
  return plain ? last["content"].get<std::string>() : last.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

comparison_figures figures_of(comparison const& compared) {
  comparison_figures f;
  numbers shares, longer, gains, ratios, tokens, ratios_each;
  for (compared_prompt const& p : compared.prompts) {
    shares.push_back(share_above(p.a.rewards, p.b.rewards));
    longer.push_back(mean_length(p.b) - mean_length(p.a));
    gains.push_back(mean(p.b.rewards) - mean(p.a.rewards));
    ratios.push_back(p.log_ratio);
    tokens.push_back(static_cast<double>(p.b.tokens));
    ratios_each.push_back(p.log_ratio / static_cast<double>(p.b.texts.size()));
  }
  f.win_rate = win_rate(shares);
  f.controlled = length_controlled_win_rate(shares, longer);
  f.gain = mean_of(gains);
  f.reward = both_of(compared, [](answers const& one) { return mean(one.rewards); });
  f.length = both_of(compared, mean_length);
  auto const share = [](std::size_t part, answers const& one) {
    return static_cast<double>(part) / static_cast<double>(one.texts.size());
  };
  f.tokens = both_of(compared, [&](answers const& one) { return share(one.tokens, one); });
  f.finished = both_of(compared, [&](answers const& one) { return share(one.finished, one); });
  if (compared.no_kl.empty()) {
    f.kl_token = ratio_of(ratios, tokens);
    f.kl = mean_of(ratios_each);
  }
  f.most.resize(gains.size());
  std::iota(f.most.begin(), f.most.end(), std::size_t{0});
  std::stable_sort(f.most.begin(), f.most.end(),
                   [&](std::size_t i, std::size_t j) { return std::abs(gains[i]) > std::abs(gains[j]); });
  return f;
}

json as_json(comparison const& compared, compare_settings const& settings) {
  comparison_figures const f = figures_of(compared);
  json reward = json_of(f.reward), examples = json::array();
  reward["difference"] = json_of(f.gain);
  for (std::size_t i = 0; i < std::min(settings.examples, f.most.size()); ++i) {
    compared_prompt const& p = compared.prompts[f.most[i]];
    examples.push_back({{"prompt", p.prompt},
                        {"reward_a", mean(p.a.rewards)},
                        {"reward_b", mean(p.b.rewards)},
                        {"a", typical(p.a)},
                        {"b", typical(p.b)}});
  }
  return {{"a", portable_name(settings.generate.model)},
          {"b", portable_name(settings.other)},
          {"prompts", compared.prompts.size()},
          {"num_samples", settings.generate.num_samples},
          {"seed", settings.generate.seed},
          {"win_rate", json_of(f.win_rate)},
          {"length_controlled_win_rate", json_of(f.controlled.rate)},
          {"length_slope", f.controlled.slope},
          {"reward", reward},
          {"length", json_of(f.length)},
          {"tokens", json_of(f.tokens)},
          {"finished", json_of(f.finished)},
          {"kl_per_token", json_of(f.kl_token)},
          {"kl", json_of(f.kl)},
          {"examples", examples}};
}

std::string as_table(comparison const& compared, compare_settings const& settings) {
  comparison_figures const f = figures_of(compared);
  std::string text = "A  " + portable_name(settings.generate.model) + "\nB  " + portable_name(settings.other) + "\n";
  std::size_t const n = settings.generate.num_samples;
  text += formatted("%zu prompts, %zu answer%s each; \xc2\xb1 standard error over prompts, [95 %% interval]\n\n",
                    compared.prompts.size(), n, n == 1 ? "" : "s");
  text += formatted("%-24s %-22s %-22s\n", "", "A", "B");
  text += row("reward", f.reward) + formatted("B \xe2\x88\x92 A  %.4g  [%.4g, %.4g]\n", f.gain.value, f.gain.low, f.gain.high);
  text += row("characters", f.length) + "\n" + row("tokens", f.tokens) + "\n" + row("ended by itself", f.finished) + "\n\n";
  text += "B wins (ties half)     " + percent(f.win_rate) + "\n  at equal length      " + percent(f.controlled.rate) + "\n";
  if (f.kl_token)
    text += "KL(B \xe2\x80\x96 A)               " + with_error(*f.kl_token) + " nats a token, " + with_error(*f.kl) +
            " an answer\n";
  else
    text += "KL(B \xe2\x80\x96 A)               none: " + compared.no_kl + "\n";
  std::size_t const shown = std::min(settings.examples, f.most.size());
  if (shown > 0) text += "\nPrompts whose rewards differ most\n";
  for (std::size_t i = 0; i < shown; ++i) {
    compared_prompt const& p = compared.prompts[f.most[i]];
    text += formatted("%3zu. ", i + 1) + shortened(question(p.prompt), 100) + "\n";
    text += formatted("     A %8.4g  ", mean(p.a.rewards)) + shortened(typical(p.a), 100) + "\n";
    text += formatted("     B %8.4g  ", mean(p.b.rewards)) + shortened(typical(p.b), 100) + "\n";
  }
  return text;
}

}  // namespace kedge::llm
