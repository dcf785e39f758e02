// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/names.hpp>

namespace kedge::llm {

class peft_adapter;

/// Which biases of the base are trained with an adapter: none, all, or those of the maps that it is on. Names are those of PEFT's `bias`.
enum class trained_biases { none, all, of_targets };

constexpr auto names(trained_biases) {
  return std::array<named<trained_biases>, 3>{
      {{trained_biases::none, "none"}, {trained_biases::all, "all"}, {trained_biases::of_targets, "lora_only"}}};
}

/// Numbers by module, PEFT's rank_pattern and alpha_pattern: a regular expression of a module's name, or of its end behind a dot, and
/// the number that holds there.
struct module_numbers {
  std::vector<std::pair<std::string, double>> rows{};

  /// The number of the first expression that matches; nothing where none does.
  /// throws  error naming an expression that is none
  [[nodiscard]] std::optional<double> of(std::string const& module) const;

  bool operator==(module_numbers const&) const = default;
};

/// Reads {"layers.1.self_attn.q_proj": 4, …}.
/// throws  error saying what is no JSON object, or no number above 0
[[nodiscard]] module_numbers read_module_numbers(std::string const& text);
[[nodiscard]] module_numbers read_module_numbers(nlohmann::ordered_json const& object, std::string const& where);
[[nodiscard]] nlohmann::ordered_json as_json(module_numbers const& numbers);

/// A low-rank adapter: W + scale · B A in place of W, scale = alpha / rank; with DoRA m ∘ (W + scale · B A) / ‖W + scale · B A‖, by
/// rows. Names and meanings are PEFT's. Modules are named by the end of their name from a dot on ("q_proj", "self_attn.q_proj",
/// "lm_head", "embed_tokens"), or all at once by one regular expression of the whole name.
struct lora_settings {
  std::int64_t rank = 16;
  double alpha = 32;
  std::vector<std::string> target_modules{};  ///< empty: q_proj and v_proj, qkv_proj where they are one; or all-linear
  bool rslora = false;                        ///< scale = alpha / √rank
  double dropout = 0;                         ///< no other value: what a batch gives must not depend on how it is cut
  bool dora = false;
  std::vector<std::string> modules_to_save{};        ///< trained whole; any whose name ends so
  std::vector<std::string> exclude_modules{};        ///< of the targets
  std::vector<std::int64_t> layers_to_transform{};   ///< empty: all
  module_numbers rank_pattern{}, alpha_pattern{};
  bool bias_of_b = false;                            ///< scale · (B A x + b_B)
  trained_biases biases = trained_biases::none;
  std::vector<std::string> target_parameters{};      ///< stacked weights of experts: "mlp.experts.gate_up_proj"

  bool operator==(lora_settings const&) const = default;
};

/// What an adapter_config.json says, in these words.
/// throws  error naming the folder and the key of what can be merged but not trained
[[nodiscard]] lora_settings settings_of(peft_adapter const& adapter);

}  // namespace kedge::llm
