// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // find_if
#include <array>      // array

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/soup/recipe.hpp>

// Texts of kedge's own that render every conversation as mergekit 0.1.5's templates of these names do, to the last line break.

namespace kedge::llm {
namespace {

struct named_template {
  std::string_view name, text;
};

constexpr std::array templates{
    named_template{"alpaca", R"({%- set instructions = messages | selectattr("role", "equalto", "system") | list -%}
{{- (instructions | last).content | trim if instructions else "" }}

{% for turn in messages -%}
  {%- set heading = {"user": "Instruction", "assistant": "Response", "user_context": "Input"}.get(turn.role) -%}
  {%- if heading -%}
    {{- "### " ~ heading ~ ":\n" ~ turn.content | trim ~ ("" if loop.last else "\n\n") -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and messages[-1].role != "assistant" -%}
  {{- "### Response:\n" -}}
{%- endif -%}
)"},
    named_template{"chatml", R"({%- for turn in messages -%}
  {{- "<|im_start|>" ~ turn.role ~ "\n" ~ turn.content ~ "<|im_end|>\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- "<|im_start|>assistant\n" -}}
{%- endif -%}
)"},
    named_template{"exaone", R"({%- for turn in messages -%}
  {%- if loop.first and turn.role != "system" -%}
    {{- "        [|system|][|endofturn|]\n\n" -}}
  {%- endif -%}
  {{- "    [|" ~ turn.role ~ "|]" ~ turn.content ~ "\n" -}}
  {{- "        " ~ ("\n\n" if turn.role == "user" else "[|endofturn|]\n\n") -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- "    [|assistant|]\n" -}}
{%- endif -%}
)"},
    named_template{"llama3", R"({%- for turn in messages -%}
  {{- (bos_token if loop.first else "") ~ "<|start_header_id|>" ~ turn.role ~ "<|end_header_id|>\n\n" ~ turn.content | trim ~ "<|eot_id|>\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- "<|start_header_id|>assistant<|end_header_id|>\n\n" -}}
{%- endif -%}
)"},
    named_template{"mistral", R"({%- set has_system = messages[0].role == "system" -%}
{%- set turns = messages[1:] if has_system else messages -%}
{{- bos_token -}}
{%- for turn in turns -%}
  {%- if (loop.index0 % 2 == 0) != (turn.role == "user") -%}
    {{- raise_exception("After an optional system message, user and assistant have to take turns, and the user begins.") -}}
  {%- elif turn.role == "user" -%}
    {{- " [INST] " ~ (messages[0].content ~ "\n\n" if loop.first and has_system else "") ~ turn.content ~ " [/INST]" -}}
  {%- elif turn.role == "assistant" -%}
    {{- " " ~ turn.content ~ eos_token -}}
  {%- else -%}
    {{- raise_exception("Messages are the user's and the assistant's, after an optional system message.") -}}
  {%- endif -%}
{%- endfor -%}
)"},
};

}  // namespace

std::optional<std::string_view> named_chat_template(std::string_view name) {
  auto const found = std::find_if(templates.begin(), templates.end(), [&](auto const& one) { return one.name == name; });
  return found == templates.end() ? std::nullopt : std::optional{found->text};
}

std::string chat_template_choice(std::string const& text) {
  if (text == "auto" || text.find('{') != std::string::npos || named_chat_template(text)) return text;
  std::string known = "auto";
  for (auto const& one : templates) known += ", " + std::string(one.name);
  throw error("chat_template " + in_quotes(text) + " is neither a template nor a name of one; the names are " + known);
}

}  // namespace kedge::llm
