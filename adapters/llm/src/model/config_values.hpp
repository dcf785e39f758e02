// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/names.hpp>

#include "families/family.hpp"

namespace kedge::llm {

/// Values of a config.json, each checked as it is read. A null key is an absent one.
class config_values {
 public:
  using json = nlohmann::ordered_json;

  /// where: names the file in errors; both must outlive this
  config_values(json const& config, std::string const& where) : config_(config), where_(where) {}

  [[noreturn]] void fail(std::string const& what) const { throw error(where_ + ": " + what); }

  [[nodiscard]] json const& all() const { return config_; }
  [[nodiscard]] json const& operator[](char const* key) const { return config_[key]; }
  [[nodiscard]] bool has(char const* key) const { return has(config_, key); }
  [[nodiscard]] static bool has(json const& object, char const* key) { return object.contains(key) && !object[key].is_null(); }
  /// Whether the key is there and says null, where that turns something off.
  [[nodiscard]] bool says_null(char const* key) const { return config_.contains(key) && config_[key].is_null(); }

  /// A value of an enumeration, by its name.
  template <named_enum E>
  [[nodiscard]] E known(std::string const& key, json const& name) const {
    auto const text = name.get<std::string>();
    auto const value = from_name<E>(text);
    if (!value) fail("config: " + key + " = " + text + " is not supported; supported: " + all_names<E>());
    return *value;
  }

  [[nodiscard]] std::int64_t positive(char const* key, std::int64_t most = 1'000'000'000) const {
    if (!config_[key].is_number_integer()) fail(std::string("config: ") + key + " is not an integer");
    auto const value = config_[key].get<std::int64_t>();
    if (value <= 0 || value > most) fail(std::string("config: ") + key + " = " + std::to_string(value) + " makes no sense");
    return value;
  }
  [[nodiscard]] std::int64_t positive_or(char const* key, std::int64_t fallback, std::int64_t most = 1'000'000'000) const {
    return has(key) ? positive(key, most) : fallback;
  }

  [[nodiscard]] double number_or(char const* key, double fallback) const { return number_or(config_, key, fallback); }
  [[nodiscard]] double number_or(json const& object, char const* key, double fallback) const {
    if (!has(object, key)) return fallback;
    if (!object[key].is_number()) fail(std::string("config: ") + key + " is not a number");
    return object[key].get<double>();
  }
  [[nodiscard]] double positive_number(char const* key, double fallback) const {
    return positive_number(config_, key, fallback);
  }
  [[nodiscard]] double positive_number(json const& object, char const* key, double fallback) const {
    double const value = number_or(object, key, fallback);
    if (!(value > 0) || !std::isfinite(value)) fail(std::string("config: ") + key + " must be positive");
    return value;
  }

  [[nodiscard]] bool flag_or(char const* key, bool fallback) const {
    if (!has(key)) return fallback;
    if (!config_[key].is_boolean()) fail(std::string("config: ") + key + " is neither true nor false");
    return config_[key].get<bool>();
  }

 private:
  json const& config_;
  std::string const& where_;
};

/// Fills in how the layers of a family turn: c.rope, c.local_rope.
/// c: sizes and positions are known
void read_ropes(config_values const& values, family const& of, transformer_config& c);

}  // namespace kedge::llm
