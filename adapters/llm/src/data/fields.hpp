// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>  // initializer_list

#include <nlohmann/json.hpp>

namespace kedge::llm {

/// Takes a text or a list of messages out of a line's object.
/// throws  kedge::llm::error if the key is missing, or holds anything else, or an empty list
nlohmann::ordered_json take_field(nlohmann::ordered_json& object, char const* key);

/// Takes the key "system" out of a line's object, where there is one, and puts the system message in front of `prompt`. Such
/// a line is a conversation: a prompt and completions that are texts become messages of user and assistant, also where the
/// system text is empty or null, which adds no message.
/// throws  kedge::llm::error if the key holds no text, or the prompt has a system message already
void take_system(nlohmann::ordered_json& object, nlohmann::ordered_json& prompt,
                 std::initializer_list<nlohmann::ordered_json*> completions);

/// Takes every key away whose value is null, at any depth: column stores fill keys that a row does not have. Elements of lists stay.
void drop_nulls(nlohmann::ordered_json& value);

/// Whether two values hold the same, whatever the order of their keys.
bool same_content(nlohmann::ordered_json const& a, nlohmann::ordered_json const& b);

/// throws  kedge::llm::error if the line has a column of pictures, sound or films, which a model of text does not see
void refuse_media(nlohmann::ordered_json const& object);

/// Whether a completion begins with the prompt once more: with its text, or with its first message.
bool repeats(nlohmann::ordered_json const& prompt, nlohmann::ordered_json const& completion);

/// Whether messages end with another role than the assistant's.
bool ends_with_other(nlohmann::ordered_json const& completion);

/// A number of a line's object, NaN where the key is missing, null or NaN.
/// throws  kedge::llm::error if it holds anything but a finite number
double number_or_nan(nlohmann::ordered_json const& object, char const* key);

}  // namespace kedge::llm
