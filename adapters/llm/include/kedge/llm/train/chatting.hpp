// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <istream>
#include <optional>
#include <string>
#include <string_view>

#include <kedge/llm/train/sampling.hpp>

namespace kedge::llm {

/// What `kedge chat` is asked: of `generate` the model, how it computes, how tokens are drawn, and where it tells what it does.
struct chat_settings {
  generate_settings generate;
  std::string system;  ///< message of the system before the conversation; empty: none, the template's own if it has one
  std::optional<std::string>
      prompt;             ///< the one message of the user, answered, and that is all; none: they are read, one a line
  bool terminal = false;  ///< the user sees what he is asked: a mark before each message is shown, and what went wrong is told
};

/// Talks: each line of `in` is a message of the user, which the model answers by its chat template, with all messages before; `write` gets the
/// answer as it comes. A line that ends with a backslash goes on in the next. Lines that begin with a slash are commands: /reset begins anew, /system
/// TEXT does so with another message of the system, /help lists them, /exit ends as the end of `in` does; two slashes are a message that begins with
/// one. Ctrl-C ends an answer; what has come of it stays in the conversation.
/// throws  error if the model has no chat template; without a terminal also for what would be told in one: an unknown command, no room for an answer
/// cost    what is new in a turn; keys and values of what came before are kept
void chat(chat_settings const& settings, std::istream& in, std::function<void(std::string_view)> const& write);

}  // namespace kedge::llm
