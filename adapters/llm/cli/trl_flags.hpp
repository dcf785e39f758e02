// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include <kedge/llm/base/names.hpp>

namespace kedge::cli {

/// What becomes of a flag of TRL's or transformers' that is no setting here.
enum class trl_fate {
  mapped,   ///< it is another flag here
  idle,     ///< what it asks for changes no result, or is so anyway
  refused,  ///< its meaning can't be given
};
constexpr auto names(trl_fate) {
  return std::array{llm::named{trl_fate::mapped, "Another flag here"}, llm::named{trl_fate::idle, "Without effect"}, llm::named{trl_fate::refused, "Refused"}};
}

/// What stands after a flag: a truth value or nothing, one value, several.
enum class trl_form { truth, one, many };

/// What becomes of a flag with certain values.
struct trl_case {
  std::string_view values;  ///< one, or several between |; "none" where there is none; "*": any
  trl_fate fate;
  std::string_view text;    ///< mapped: NAME=VALUE, {} being the value given; else why, for people. Idle without a text: the value asks for nothing
};

struct trl_flag {
  std::string_view name;
  trl_form form;
  std::vector<trl_case> cases;       ///< the first that holds the value counts
  std::string_view commands = {};    ///< of these alone, between blanks; empty: of all that train
};

/// Every flag of TRL 1.16's and transformers 5.23's training scripts, and of earlier versions, that isn't a setting of all commands that train;
/// and settings of which values are refused that TRL has. It is asked where a command has no such setting, or the setting refuses its value.
[[nodiscard]] std::vector<trl_flag> const& trl_flags();

/// The row for a command; null where there is none.
[[nodiscard]] trl_flag const* find_trl_flag(std::string_view name, std::string_view command);

/// The case of a value as it was given; several are joined by blanks.
[[nodiscard]] trl_case const* case_of(trl_flag const& flag, std::string const& value);

/// The tables of the documentation, each under the name of its fate.
void print_trl_tables();

}  // namespace kedge::cli
