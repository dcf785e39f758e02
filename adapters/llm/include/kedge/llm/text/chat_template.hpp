// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>       // size_t
#include <memory>        // shared_ptr
#include <string>        // string
#include <string_view>   // string_view
#include <utility>       // pair
#include <vector>        // vector

#include <nlohmann/json_fwd.hpp>

namespace kedge::llm {

/// The sources of a checkpoint's chat templates by name ("default", "tool_use", "rag"), each name once.
using template_sources = std::vector<std::pair<std::string, std::string>>;

/// A rendered conversation, and what of it stands in the template's `generation` blocks.
struct marked_chat {
  std::string text;
  std::vector<std::pair<std::size_t, std::size_t>> generated;  ///< [begin, end) each, bytes of the text, in order
  bool has_marks = false;                                      ///< the template has such blocks
};

/// A checkpoint's chat templates (Jinja), rendered as transformers' apply_chat_template renders them: trim_blocks and
/// lstrip_blocks on, no escaping, loop controls, `generation` blocks, raise_exception, strftime_now, tojson without ASCII escapes.
///
/// A value that shares what it parsed; const calls from several threads at once are safe.
class chat_template {
 public:
  /// throws  kedge::llm::error naming the line and the construct that is malformed or not supported
  explicit chat_template(std::string_view source);

  /// Several templates; one that cannot be parsed is an error when it is used.
  explicit chat_template(template_sources const& named);

  /// The text of a conversation. The template sees `messages`, `add_generation_prompt`, `variables` (bos_token, eos_token,
  /// tools, …), and none for `tools` and `documents` where they are not given. Keys of a message that are null are left out.
  /// Content in parts ({"type": "text", "text": …}) is given as such to a template that reads parts, else as one text.
  ///
  /// Of several templates: the one, by name or source, of `chat_template` among the variables; "tool_use" where there are
  /// tools and it exists; "default".
  /// throws  kedge::llm::error with the line: the template's own raise_exception, a rule of the language broken, or a bound on
  ///         steps, depth and size passed; or naming the templates that there are, if none of them is the default
  [[nodiscard]] std::string render(nlohmann::ordered_json const& messages, bool add_generation_prompt,
                                   nlohmann::ordered_json const& variables) const;

  /// render without a generation prompt, and where transformers' return_assistant_tokens_mask finds the assistant's words.
  [[nodiscard]] marked_chat render_marked(nlohmann::ordered_json const& messages, nlohmann::ordered_json const& variables) const;

 private:
  class implementation;
  std::shared_ptr<implementation const> shared_;
};

}  // namespace kedge::llm
