// SPDX-License-Identifier: Apache-2.0
#include "reference_schedule.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <concepts>
#include <optional>
#include <sstream>
#include <string>

#include <kedge/detail/ranges.hpp>

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

std::vector<std::string> split(std::string const& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

double number_from(std::string const& what, std::string const& text) {
  double value = 0;
  auto const [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    throw error("--reference: " + what + " '" + text + "' is not a number");
  return value;
}

// The schedule of a kind, as it is without parameters.
chosen_schedule::any schedule_of(reference_kind kind) {
  switch (kind) {
    case reference_kind::hand_off: return hand_off{};
    case reference_kind::ema: return every<ema_anchor>{};
    case reference_kind::bema: return every<bema_anchor>{};
    case reference_kind::mean: return every<soup_anchor>{};
    case reference_kind::inpo: return inpo_anchor{};
    case reference_kind::magnet: return moving_magnet{};
    case reference_kind::halpern: return halpern_anchor{};
    case reference_kind::recent: return recent_anchors{};
    case reference_kind::harmonic: return harmonic_anchor{};
    case reference_kind::start:
    case reference_kind::soup:
    case reference_kind::mkl: break;
  }
  return fixed_anchor{};
}

// "tau = 0.6 in [0, 1], every = 1 in [1, 1e+09]"
std::string numbers_of(reference_kind kind) {
  std::string text;
  std::visit([&](auto schedule) {
    kedge::detail::for_each_parameter(schedule, [&](auto const& p, auto value) {
      text += (text.empty() ? "" : ", ") + std::string(p.name) + " = " + kedge::detail::text(value) + " in " + kedge::detail::range_text(p);
    });
  }, schedule_of(kind));
  return text;
}

void set_number(chosen_schedule::any& any, reference_kind kind, std::string const& name, double value) {
  bool found = false;
  std::visit([&](auto& schedule) {
    kedge::detail::for_each_parameter(schedule, [&](auto const& p, auto& member) {
      if (name != p.name) return;
      found = true;
      using type = std::remove_reference_t<decltype(member)>;
      if (!kedge::detail::in_range(p, value) || (std::integral<type> && value != std::floor(value)))
        throw error("--reference: " + name + " = " + kedge::detail::text(value) + "; it must be " +
                    (std::integral<type> ? "a whole number in " : "in ") + kedge::detail::range_text(p));
      member = static_cast<type>(value);
    });
  }, any);
  std::string const known = numbers_of(kind);
  if (!found)
    throw error("--reference " + std::string(name_of(kind)) + ": parameter '" + name + "' is not known; " +
                (known.empty() ? "it has none" : "it has " + known));
}

bool takes_models(reference_kind kind) {
  return kind == reference_kind::harmonic || kind == reference_kind::soup || kind == reference_kind::mkl;
}

void read_weights(std::string const& text, reference_choice& choice) {
  for (std::string const& weight : split(text)) {
    choice.weights.push_back(number_from("weight", weight));
    if (choice.what == reference_kind::harmonic && choice.weights.back() < 0)
      throw error("--reference: weight " + weight + "; those of a harmonic mean must not be negative");
  }
}

void require_affine(std::vector<double> const& weights) {
  double sum = 0;
  for (double const weight : weights) sum += weight;
  if (!weights.empty() && std::abs(sum - 1) > 1e-9)
    throw error("--reference: the weights sum to " + std::to_string(sum) + "; they must sum to 1");
}

// DIR,DIR[@W,W]
void read_models(std::string const& text, std::string rest, reference_choice& choice) {
  if (auto const at = rest.rfind('@'); at != std::string::npos) {
    read_weights(rest.substr(at + 1), choice);
    rest.resize(at);
  }
  for (std::string const& model : split(rest)) choice.models.emplace_back(model);
  std::string const form(name_of(choice.what));
  if (choice.models.empty()) throw error("--reference " + text + ": no models; write " + form + ":DIR,DIR or " + form + ":DIR,DIR@0.5,0.5");
  if (!choice.weights.empty() && choice.weights.size() != choice.models.size())
    throw error("--reference: " + std::to_string(choice.weights.size()) + " weights for " + std::to_string(choice.models.size()) + " models; give one each");
}

void read_numbers(std::string const& rest, reference_choice& choice) {
  chosen_schedule::any schedule = schedule_of(choice.what);
  for (std::string const& part : split(rest)) {
    auto const equals = part.find('=');
    std::string const name = part.substr(0, equals);
    double const value = equals == std::string::npos ? std::nan("") : number_from(name, part.substr(equals + 1));
    set_number(schedule, choice.what, name, value);
    choice.numbers.emplace_back(name, value);
  }
}

}  // namespace

reference_choice parse_reference(std::string const& text, reference_kind otherwise) {
  reference_choice choice{.what = otherwise};
  if (text.empty()) return choice;
  auto const colon = text.find(':');
  std::string const head = text.substr(0, colon), rest = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (auto const kind = from_name<reference_kind>(head)) {
    choice.what = *kind;
    if (takes_models(*kind))
      read_models(text, rest, choice);
    else if (*kind == reference_kind::recent)
      read_weights(rest, choice);
    else
      read_numbers(rest, choice);
    require_affine(choice.weights);
    return choice;
  }
  if (text.find('/') == std::string::npos && !std::filesystem::exists(text))
    throw error("--reference " + text + " is not known; give " + all_names<reference_kind>() + ", or a model's folder");
  choice.what = reference_kind::soup;
  choice.models = {text};
  return choice;
}

std::string describe_references() {
  std::string text;
  for (auto const& row : names(reference_kind{})) {
    std::string const numbers = numbers_of(row.value);
    text += std::string(row.name) + ": " + std::string(row.help) + (numbers.empty() ? "" : "; " + numbers) + "\n";
  }
  return text;
}

chosen_momentum momentum_of(schedule_settings const& s) {
  switch (s.momentum) {
    case momentum_choice::none: break;
    case momentum_choice::constant: return {listed_momentum{s.alpha}};
    case momentum_choice::nesterov: return {nesterov_momentum{s.nesterov_s}};
    case momentum_choice::fista: return {fista_momentum{}};
    case momentum_choice::strongly_convex: return {strongly_convex_momentum{s.kappa}};
  }
  return {listed_momentum{{0}}};
}

chosen_schedule make_schedule(schedule_settings const& s) {
  if (s.momentum != momentum_choice::none) {
    if (s.reference.what != reference_kind::hand_off)
      throw error("--momentum " + std::string(name_of(s.momentum)) + " throws the last result ahead; it goes with --reference hand-off, not with " +
                  std::string(name_of(s.reference.what)));
    chosen_extrapolation const how{s.products};
    if (s.log_probs) return chosen_schedule(extrapolated_log_probs<chosen_momentum, chosen_extrapolation>{momentum_of(s), how});
    return chosen_schedule(extrapolated_weights<chosen_momentum, chosen_extrapolation>{momentum_of(s), how});
  }
  chosen_schedule::any schedule = schedule_of(s.reference.what);
  for (auto const& [name, value] : s.reference.numbers) set_number(schedule, s.reference.what, name, value);
  if (auto* recent = std::get_if<recent_anchors>(&schedule); recent && !s.reference.weights.empty()) recent->weights = s.reference.weights;
  return chosen_schedule(std::move(schedule));
}

std::int64_t kept_by(reference_choice const& reference) {
  switch (reference.what) {
    case reference_kind::hand_off: return 0;
    case reference_kind::start:
    case reference_kind::ema:
    case reference_kind::mean:
    case reference_kind::soup: return 1;
    case reference_kind::inpo:
    case reference_kind::magnet:
    case reference_kind::halpern: return 2;
    case reference_kind::bema: return 3;
    case reference_kind::recent: return static_cast<std::int64_t>(std::max<std::size_t>(reference.weights.size(), 2));
    case reference_kind::harmonic:
    case reference_kind::mkl: break;
  }
  return static_cast<std::int64_t>(reference.models.size());
}

}  // namespace kedge::llm
