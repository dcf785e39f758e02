// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>  // optional
#include <span>      // span
#include <string>    // string
#include <vector>    // vector

#include <nlohmann/json.hpp>

#include <kedge/llm/data/reading.hpp>

namespace kedge::llm {

/// One answer to a prompt.
struct answer {
  nlohmann::ordered_json content;  ///< text or messages; without a prompt the whole conversation
  double rank = 0;                 ///< larger is better; equal ones make no pair
  std::optional<double> score{};   ///< what the data say of it, in their unit
};

/// What a line says, whatever its shape.
struct ranked_answers {
  nlohmann::ordered_json prompt;  ///< text or messages; null: what the answers begin with alike
  std::vector<answer> answers;
};

/// Whether a line is of a shape.
enum class likeness {
  none,
  sure,        ///< it is, and there is one way to read it
  choice,      ///< it is, and someone has to say what is meant
  also_plain,  ///< it is, and TRL's keys with texts as well, which counts unless someone asks for the shape
};

/// A shape of lines: how it is known, and what its keys mean.
struct schema {
  data_format format;
  likeness (*looks)(nlohmann::ordered_json const& line);
  /// throws  kedge::llm::error naming the key that is missing or holds something else
  ranked_answers (*read)(nlohmann::ordered_json const& line);
  bool joins = false;       ///< answers to one prompt stand on lines in a row
  char const* choice = "";  ///< what has to be chosen, for people
};

namespace schemas {
extern schema const ultrafeedback, orca, hh, nectar, helpsteer2, shp, pku, arena, sharegpt, alpaca, capybara, summaries;
}  // namespace schemas

/// All of them.
[[nodiscard]] std::span<schema const* const> all_schemas();

// What the shapes are read with.

/// throws  kedge::llm::error if the key is missing, or holds no text (no number, no list)
[[nodiscard]] std::string text_at(nlohmann::ordered_json const& line, char const* key);
[[nodiscard]] double number_at(nlohmann::ordered_json const& line, char const* key);
[[nodiscard]] nlohmann::ordered_json const& list_at(nlohmann::ordered_json const& line, char const* key);

[[nodiscard]] bool has_text(nlohmann::ordered_json const& line, char const* key);
/// A list whose first element is an object with these keys.
[[nodiscard]] bool has_list_of(nlohmann::ordered_json const& line, char const* key, std::initializer_list<char const*> keys);

[[nodiscard]] nlohmann::ordered_json message(char const* role, nlohmann::ordered_json content);
/// One message alone.
[[nodiscard]] nlohmann::ordered_json messages(char const* role, nlohmann::ordered_json content);

/// A transcript whose turns begin with "\n\nHuman:" and "\n\nAssistant:", as messages; an empty turn of the assistant at the end is left out.
/// throws  kedge::llm::error if it does not begin so
[[nodiscard]] nlohmann::ordered_json of_transcript(std::string const& text);
[[nodiscard]] bool is_transcript(nlohmann::ordered_json const& value);

}  // namespace kedge::llm
