// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/names.hpp>

namespace kedge::llm {

/// A command that can't be meant so: an unknown flag, a number out of its range, flags that exclude each other. Exit code 2.
class usage_error : public error {
 public:
  using error::error;
};

/// Which numbers a setting takes. NaN and infinities are in no range.
struct number_range {
  double least = 0, most = 1e9;
  bool above_least = false, below_most = false;  ///< the end itself is out

  [[nodiscard]] bool contains(double x) const {
    return x >= least && x <= most && !(above_least && x == least) && !(below_most && x == most);  // NaN compares false
  }
};

/// What a resumed run may do with a setting.
enum class on_resume {
  same,     ///< it changes the result: refused where it differs
  free,     ///< it changes no bit of the result
  content,  ///< it names a file or a model, whose content is compared instead
};

/// One setting: a member of a settings struct with all that anyone has to know of it. Flags, help, configuration files, checks of
/// ranges, the comparison on resume, run.json and the tables of the documentation are made from it.
class setting {
 public:
  setting(std::string name, std::string help) : name_(std::move(name)), help_(std::move(help)) {}
  virtual ~setting() = default;
  setting(setting const&) = delete;
  setting& operator=(setting const&) = delete;

  // How it is declared.
  setting& alias(std::string other) { aliases_.push_back(std::move(other)); return *this; }
  setting& at_least(double x) { range_.least = x; range_.above_least = false; return *this; }
  setting& above(double x) { range_.least = x; range_.above_least = true; return *this; }
  setting& at_most(double x) { range_.most = x; range_.below_most = false; return *this; }
  setting& below(double x) { range_.most = x; range_.below_most = true; return *this; }
  setting& within(number_range range) { range_ = range; return *this; }
  /// Where nothing is meant to be set, people write this: "-1" for "no limit". It stands for `value`, which the help says.
  setting& also(std::string text, std::string value) { synonyms_.emplace_back(std::move(text), std::move(value)); return *this; }
  /// A flag without a value means this one.
  setting& bare(std::string value) { bare_ = std::move(value); return *this; }
  setting& resumes(on_resume how) { resume_ = how; return *this; }
  setting& required() { required_ = true; return *this; }
  setting& optional() { required_ = false; return *this; }
  setting& describe(std::string help) { help_ = std::move(help); return *this; }
  /// It means something only beside another one, which is given, or true.
  setting& needs(std::string other) { needs_ = std::move(other); return *this; }
  setting& excludes(std::string other) { excludes_ = std::move(other); return *this; }
  /// What holds where it isn't set, for people.
  setting& otherwise(std::string text) { otherwise_ = std::move(text); return *this; }
  /// Words of the command line without a flag go here.
  setting& positional() { positional_ = true; return *this; }
  setting& in(std::string group) { group_ = std::move(group); return *this; }

  [[nodiscard]] std::string const& name() const { return name_; }
  [[nodiscard]] std::vector<std::string> const& aliases() const { return aliases_; }
  [[nodiscard]] std::string const& help() const { return help_; }
  [[nodiscard]] std::string const& group() const { return group_; }
  [[nodiscard]] std::string const& needed() const { return needs_; }
  [[nodiscard]] std::string const& excluded() const { return excludes_; }
  [[nodiscard]] std::string const& default_text() const { return otherwise_; }  ///< empty: the value itself
  [[nodiscard]] std::string const& bare_value() const { return bare_; }
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> const& synonyms() const { return synonyms_; }
  [[nodiscard]] number_range const& range() const { return range_; }
  [[nodiscard]] on_resume resume() const { return resume_; }
  [[nodiscard]] bool is_required() const { return required_; }
  [[nodiscard]] bool is_positional() const { return positional_; }
  [[nodiscard]] bool given() const { return given_; }  ///< by a flag or a configuration file

  /// Takes what a user wrote: one text, or several where the setting is a list.
  /// throws  usage_error naming flag, text and what is taken
  void read(std::vector<std::string> texts);

  /// throws  usage_error if the value at hand, whoever set it, is out of range
  virtual void check() const = 0;
  [[nodiscard]] virtual nlohmann::ordered_json value() const = 0;
  /// What it takes, in words: "a number above 0", "linear, cosine or constant".
  [[nodiscard]] virtual std::string form() const = 0;
  [[nodiscard]] virtual bool takes_many() const { return false; }
  [[nodiscard]] virtual bool is_switch() const { return false; }  ///< true or false
  [[nodiscard]] bool takes_json() const { return form() == "a JSON object"; }  ///< a file may give it other keys
  [[nodiscard]] virtual std::vector<std::string> choices() const { return {}; }  ///< of an enumeration

 protected:
  virtual void assign(std::span<std::string const> texts) = 0;

 private:
  std::string name_, help_, group_, needs_, excludes_, bare_, otherwise_;
  std::vector<std::string> aliases_;
  std::vector<std::pair<std::string, std::string>> synonyms_;
  number_range range_;
  on_resume resume_ = on_resume::same;
  bool required_ = false, positional_ = false, given_ = false;
};

/// How values of a type are read, written and checked. Specialise it for a type with a notation of its own:
///   T read(std::string_view, number_range const&); ordered_json write(T const&); bool valid(T const&, number_range const&);
///   std::string form(number_range const&)
template <class T>
struct setting_type;

/// "none" or "null", in any case: what Python's tools write for a value that isn't there.
[[nodiscard]] bool means_none(std::string_view text);

/// "at least 0", "above 0 and at most 1"; empty where there is no bound that a user would meet.
[[nodiscard]] std::string in_words(number_range const& range);

template <>
struct setting_type<bool> {
  [[nodiscard]] static std::optional<bool> read(std::string_view text, number_range const&);
  [[nodiscard]] static nlohmann::ordered_json write(bool value) { return value; }
  [[nodiscard]] static bool valid(bool, number_range const&) { return true; }
  [[nodiscard]] static std::string form(number_range const&) { return "true or false"; }
};

template <std::integral T>
struct setting_type<T> {
  [[nodiscard]] static std::optional<T> read(std::string_view text, number_range const&) {
    T value{};
    auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (problem != std::errc() || end != text.data() + text.size()) return {};
    return value;
  }
  [[nodiscard]] static nlohmann::ordered_json write(T value) { return value; }
  [[nodiscard]] static bool valid(T value, number_range const& range) { return range.contains(static_cast<double>(value)); }
  [[nodiscard]] static std::string form(number_range const& range) {
    std::string const words = in_words(range);
    return "an integer" + (words.empty() ? "" : " " + words);
  }
};

template <>
struct setting_type<double> {
  [[nodiscard]] static std::optional<double> read(std::string_view text, number_range const&);
  [[nodiscard]] static nlohmann::ordered_json write(double value) { return value; }
  [[nodiscard]] static bool valid(double value, number_range const& range) { return range.contains(value); }
  [[nodiscard]] static std::string form(number_range const& range) {
    std::string const words = in_words(range);
    return "a number" + (words.empty() ? "" : " " + words);
  }
};

template <>
struct setting_type<std::string> {
  [[nodiscard]] static std::optional<std::string> read(std::string_view text, number_range const&) { return std::string(text); }
  [[nodiscard]] static nlohmann::ordered_json write(std::string const& value) { return value.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(value); }
  [[nodiscard]] static bool valid(std::string const&, number_range const&) { return true; }
  [[nodiscard]] static std::string form(number_range const&) { return "a text"; }
};

template <>
struct setting_type<std::filesystem::path> {
  [[nodiscard]] static std::optional<std::filesystem::path> read(std::string_view text, number_range const&) { return text; }
  [[nodiscard]] static nlohmann::ordered_json write(std::filesystem::path const& value) {
    return value.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(value.string());
  }
  [[nodiscard]] static bool valid(std::filesystem::path const&, number_range const&) { return true; }
  [[nodiscard]] static std::string form(number_range const&) { return "a path"; }
};

template <named_enum E>
struct setting_type<E> {
  [[nodiscard]] static std::optional<E> read(std::string_view text, number_range const&) { return from_name<E>(text); }
  [[nodiscard]] static nlohmann::ordered_json write(E value) { return name_of(value); }
  [[nodiscard]] static bool valid(E, number_range const&) { return true; }
  [[nodiscard]] static std::string form(number_range const&) { return all_names<E>(); }
};

template <class T>
struct setting_type<std::optional<T>> : setting_type<T> {
  using inner = setting_type<T>;
  [[nodiscard]] static std::optional<std::optional<T>> read(std::string_view text, number_range const& range) {
    if (means_none(text)) return std::optional<T>();
    std::optional<T> value = inner::read(text, range);
    if (!value) return {};
    return value;
  }
  [[nodiscard]] static nlohmann::ordered_json write(std::optional<T> const& value) {
    return value ? inner::write(*value) : nlohmann::ordered_json();
  }
  [[nodiscard]] static bool valid(std::optional<T> const& value, number_range const& range) { return !value || inner::valid(*value, range); }
};

/// A setting bound to its member.
template <class T>
class setting_of : public setting {
 public:
  setting_of(std::string name, T& member, std::string help) : setting(std::move(name), std::move(help)), member_(member) {}

  void check() const override {
    if (!setting_type<T>::valid(member_, range())) throw usage_error("--" + name() + " " + value().dump() + ": it takes " + form());
  }
  [[nodiscard]] nlohmann::ordered_json value() const override { return setting_type<T>::write(member_); }
  [[nodiscard]] std::string form() const override { return setting_type<T>::form(range()); }
  [[nodiscard]] bool is_switch() const override { return std::same_as<T, bool> || std::same_as<T, std::optional<bool>>; }
  [[nodiscard]] std::vector<std::string> choices() const override {
    std::vector<std::string> all;
    if constexpr (named_enum<T>)
      for (auto const& row : names(T{})) all.emplace_back(row.name);
    return all;
  }

 protected:
  void assign(std::span<std::string const> texts) override {
    auto value = setting_type<T>::read(texts.front(), range());
    if (!value || !setting_type<T>::valid(*value, range())) throw usage_error("--" + name() + " " + texts.front() + ": it takes " + form());
    member_ = std::move(*value);
  }

 private:
  T& member_;
};

/// A list: several values after one flag.
template <class T>
class setting_of<std::vector<T>> : public setting {
 public:
  setting_of(std::string name, std::vector<T>& member, std::string help) : setting(std::move(name), std::move(help)), member_(member) {}

  void check() const override {
    for (T const& one : member_)
      if (!setting_type<T>::valid(one, range())) throw usage_error("--" + name() + " " + setting_type<T>::write(one).dump() + ": it takes " + form());
  }
  [[nodiscard]] nlohmann::ordered_json value() const override {
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (T const& one : member_) all.push_back(setting_type<T>::write(one));
    return all;
  }
  [[nodiscard]] std::string form() const override { return setting_type<T>::form(range()) + ", one or several"; }
  [[nodiscard]] bool takes_many() const override { return true; }

 protected:
  void assign(std::span<std::string const> texts) override {
    std::vector<T> all;
    for (std::string const& text : texts) {
      auto value = setting_type<T>::read(text, range());
      if (!value || !setting_type<T>::valid(*value, range())) throw usage_error("--" + name() + " " + text + ": it takes " + form());
      all.push_back(std::move(*value));
    }
    member_ = std::move(all);
  }

 private:
  std::vector<T>& member_;
};

}  // namespace kedge::llm
