// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>        // shared_ptr
#include <string>        // string
#include <string_view>   // string_view

#include <nlohmann/json_fwd.hpp>

namespace kedge::llm {

/// A checkpoint's chat template (Jinja), rendered as transformers' apply_chat_template renders it: trim_blocks and
/// lstrip_blocks on, no escaping, loop controls, `generation` blocks, raise_exception, strftime_now, tojson without ASCII escapes.
///
/// A value that shares what it parsed; const calls from several threads at once are safe.
class chat_template {
 public:
  /// throws  kedge::llm::error naming the line and the construct that is malformed or not supported
  explicit chat_template(std::string_view source);

  /// The text of a conversation. The template sees `messages`, `add_generation_prompt`, `variables` (bos_token, eos_token,
  /// tools, …), and none for `tools` and `documents` where they are not given.
  /// throws  kedge::llm::error with the line: the template's own raise_exception, a rule of the language broken, or a bound on
  ///         steps, depth and size passed
  [[nodiscard]] std::string render(nlohmann::ordered_json const& messages, bool add_generation_prompt,
                                   nlohmann::ordered_json const& variables) const;

 private:
  class implementation;
  std::shared_ptr<implementation const> shared_;
};

}  // namespace kedge::llm
