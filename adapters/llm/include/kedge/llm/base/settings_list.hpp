// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <kedge/llm/base/setting.hpp>

namespace kedge::llm {

/// The settings of a command, in the order of its help. Each is bound to a member, which outlives the list.
class settings_list {
 public:
  /// Settings that are added from here on belong to this group of the help.
  void group(std::string name) { group_ = std::move(name); }

  template <class T>
  setting& add(std::string name, T& member, std::string help) {
    settings_.push_back(std::make_unique<setting_of<T>>(std::move(name), member, std::move(help)));
    return settings_.back()->in(group_);
  }

  /// One that is bound in a way of its own.
  setting& add(std::unique_ptr<setting> own) {
    settings_.push_back(std::move(own));
    return settings_.back()->in(group_);
  }

  /// Takes out what this command doesn't read, though its relatives do.
  void drop(std::string_view name);

  /// The setting of a name or an alias, `-` and `_` being the same; null if there is none.
  [[nodiscard]] setting* find(std::string_view name) const;
  /// The one that is there.
  [[nodiscard]] setting& at(std::string_view name) const;
  [[nodiscard]] bool given(std::string_view name) const { return at(name).given(); }
  /// throws  usage_error naming the nearest known name
  [[nodiscard]] setting& known(std::string_view name, std::string_view where) const;

  /// throws  usage_error if a value is out of range, whoever set it
  void check_ranges() const;
  /// What only a user can have done wrong besides.
  /// throws  usage_error if something required is missing, or something was given without what it needs or beside what it excludes
  void check_given() const;

  /// {name: value} of all.
  [[nodiscard]] nlohmann::ordered_json values() const;
  /// {name: value} of those that change the result.
  [[nodiscard]] nlohmann::ordered_json identity() const;

  [[nodiscard]] auto begin() const { return settings_.begin(); }
  [[nodiscard]] auto end() const { return settings_.end(); }

 private:
  std::string group_;
  std::vector<std::unique_ptr<setting>> settings_;
};

/// What `declare` says of these settings, bound to them.
template <class Settings>
[[nodiscard]] settings_list declared(Settings& settings) {
  settings_list list;
  declare(list, settings);
  return list;
}

}  // namespace kedge::llm
