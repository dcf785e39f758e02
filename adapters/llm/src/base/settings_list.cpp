// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/base/settings_list.hpp>

#include <algorithm>
#include <cmath>

#include <kedge/detail/check.hpp>
#include <kedge/llm/base/nearest.hpp>

namespace kedge::llm {
namespace {

std::string with_underscores(std::string_view name) {
  std::string text(name);
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

std::string in_lower_case(std::string_view text) {
  std::string low(text);
  std::transform(low.begin(), low.end(), low.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return low;
}

std::string number_text(double x) { return x == std::floor(x) && std::abs(x) < 1e15 ? std::to_string(static_cast<long long>(x)) : detail::text(x); }

}  // namespace

std::string in_words(number_range const& range) {
  constexpr number_range unlimited;
  std::string words;
  if (range.least > -unlimited.most) words += (range.above_least ? "above " : "of at least ") + number_text(range.least);
  if (range.most < unlimited.most) words += std::string(words.empty() ? "" : " and ") + (range.below_most ? "below " : "at most ") + number_text(range.most);
  return words;
}

bool means_none(std::string_view text) {
  std::string const low = in_lower_case(text);
  return low == "none" || low == "null";
}

std::optional<bool> setting_type<bool>::read(std::string_view text, number_range const&) {
  std::string const low = in_lower_case(text);
  for (char const* yes : {"true", "t", "1", "yes", "y", "on"})
    if (low == yes) return true;
  for (char const* no : {"false", "f", "0", "no", "n", "off"})
    if (low == no) return false;
  return {};
}

std::optional<double> setting_type<double>::read(std::string_view text, number_range const&) {
  double value = 0;
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

void setting::read(std::vector<std::string> texts) {
  if (texts.empty() && !bare_.empty()) texts.push_back(bare_);
  if (texts.empty()) throw usage_error("--" + name_ + ": a value is missing; it takes " + form());
  if (texts.size() > 1 && !takes_many()) throw usage_error("--" + name_ + ": " + std::to_string(texts.size()) + " values; it takes " + form());
  for (std::string& text : texts)
    for (auto const& [other, value] : synonyms_)
      if (text == other || (other == "none" && means_none(text))) text = value;
  try {
    assign(texts);
  } catch (usage_error const&) {
    throw;
  } catch (error const& refused) {  // of a type with a notation of its own
    throw usage_error(refused.what());
  }
  given_ = true;
}

void settings_list::drop(std::string_view name) {
  setting const* const found = &at(name);
  std::erase_if(settings_, [&](auto const& one) { return one.get() == found; });
}

setting* settings_list::find(std::string_view name) const {
  std::string const wanted = with_underscores(name);
  for (auto const& one : settings_) {
    if (one->name() == wanted) return one.get();
    for (std::string const& alias : one->aliases())
      if (alias == wanted) return one.get();
  }
  return nullptr;
}

setting& settings_list::at(std::string_view name) const {
  setting* const found = find(name);
  if (found == nullptr) throw std::logic_error("no setting " + std::string(name) + " is declared");
  return *found;
}

setting& settings_list::known(std::string_view name, std::string_view where) const {
  if (setting* const found = find(name)) return *found;
  std::string const wanted = with_underscores(name);
  std::vector<std::string> all;
  for (auto const& one : settings_) {
    all.push_back(one->name());
    all.insert(all.end(), one->aliases().begin(), one->aliases().end());
  }
  std::string const near = nearest(wanted, all);
  bool const close = edit_distance(wanted, near) <= std::max<std::size_t>(2, wanted.size() / 3);
  throw usage_error(std::string(where) + std::string(name) + " is not known" + (close ? "; did you mean " + near + "?" : ""));
}

void settings_list::check_ranges() const {
  for (auto const& one : settings_) one->check();
}

void settings_list::check_given() const {
  for (auto const& one : settings_) {
    if (one->is_required() && !one->given()) throw usage_error("--" + one->name() + " is required: " + one->help());
    if (!one->given()) continue;
    if (!one->needed().empty() && one->value() != false) {  // what is switched off needs nothing
      setting const& other = at(one->needed());
      if (!other.given() || other.value() == false) throw usage_error("--" + one->name() + " means nothing without --" + one->needed());
    }
    if (!one->excluded().empty() && at(one->excluded()).given()) throw usage_error("--" + one->name() + " and --" + one->excluded() + " exclude each other");
  }
}

nlohmann::ordered_json settings_list::values() const {
  nlohmann::ordered_json all = nlohmann::ordered_json::object();
  for (auto const& one : settings_) all[one->name()] = one->value();
  return all;
}

nlohmann::ordered_json settings_list::identity() const {
  nlohmann::ordered_json all = nlohmann::ordered_json::object();
  for (auto const& one : settings_)
    if (one->resume() == on_resume::same) all[one->name()] = one->value();
  return all;
}

}  // namespace kedge::llm
