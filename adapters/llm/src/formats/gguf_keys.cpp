// SPDX-License-Identifier: Apache-2.0
//
// What a GGUF file says and nobody asked for. Its metadata are looked up by name; so what remains is known without a list of what a
// family reads.
#include <algorithm>    // all_of, any_of, find
#include <array>        // array
#include <cmath>        // abs, sqrt
#include <optional>     // optional
#include <string_view>  // string_view

#include <kedge/llm/base/error.hpp>

#include "../base/listed.hpp"
#include "gguf_to_hf.hpp"

namespace kedge::llm {
namespace {

/// A key that changes what the model computes, wherever a family doesn't read it. `neutral`: the values with which it changes nothing.
struct decisive_key {
  std::string_view name;
  std::optional<double> neutral = {}, also = {};
};
constexpr decisive_key decisive[] = {
    {"attention.clamp_kqv", 0.0},
    {"attention.causal", 1.0},
    {"attention.layer_norm_epsilon"},
    {"attention.max_alibi_bias", 0.0},
    {"attention.output_scale", 0.0, 1.0},
    {"attention.scale", 0.0},
    {"attention.temperature_length", 0.0},
    {"attention.temperature_scale", 0.0},
    {"attention.value_scale", 0.0, 1.0},
    {"attn_logit_softcapping", 0.0},
    {"embedding_length_per_layer_input", 0.0},
    {"embedding_scale", 0.0, 1.0},
    {"expert_count", 0.0},
    {"expert_used_count", 0.0},
    {"final_logit_softcapping", 0.0},
    {"full_attention_interval", 0.0, 1.0},
    {"logit_scale", 0.0, 1.0},
    {"residual_scale", 0.0, 1.0},
    {"rope.dimension_sections", 0.0},
    {"rope.scaling.alpha", 0.0, 1.0},
    {"swin_norm", 0.0},
    {"use_parallel_residual", 0.0},
};

/// Keys that say nothing about the numbers, or what follows from the tensors.
constexpr std::string_view idle[] = {
    "attention.sliding_window_pattern", "expert_feed_forward_length", "leading_dense_block_count",
    "pooling_type", "rope.dimension_count", "rope.scaling.finetuned", "rope.scaling.original_context_length", "rope.scaling.type",
    "tensor_data_layout", "vocab_size",
};
constexpr std::string_view idle_tokens[] = {
    "tokenizer.ggml.pre", "tokenizer.ggml.scores", "tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.fim_suf_token_id",
    "tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.fim_pad_token_id", "tokenizer.ggml.fim_rep_token_id", "tokenizer.ggml.fim_sep_token_id",
    "tokenizer.ggml.prefix_token_id", "tokenizer.ggml.suffix_token_id", "tokenizer.ggml.middle_token_id", "tokenizer.ggml.token_type_count",
    "tokenizer.ggml.add_space_prefix", "tokenizer.ggml.add_sep_token",
};

template <class List>
bool among(List const& list, std::string_view name) {
  return std::find(std::begin(list), std::end(list), name) != std::end(list);
}

/// A value as a number; nothing for texts, and for lists whose numbers differ.
std::optional<double> as_number(gguf_value const& value) {
  if (auto const* integer = std::get_if<std::int64_t>(&value)) return static_cast<double>(*integer);
  if (auto const* real = std::get_if<double>(&value)) return *real;
  if (auto const* truth = std::get_if<bool>(&value)) return *truth ? 1 : 0;
  auto const* const list = std::get_if<gguf_array>(&value);
  if (list == nullptr || list->size == 0 || !list->strings.empty()) return std::nullopt;
  std::vector<double> numbers;
  try {
    numbers = list->reals();
  } catch (error const&) {
    try {
      for (auto const i : list->integers()) numbers.push_back(static_cast<double>(i));
    } catch (error const&) {
      return std::nullopt;
    }
  }
  if (!std::all_of(numbers.begin(), numbers.end(), [&](double x) { return x == numbers.front(); })) return std::nullopt;
  return numbers.front();
}

std::string as_text(gguf_value const& value) {
  if (auto const* integer = std::get_if<std::int64_t>(&value)) return std::to_string(*integer);
  if (auto const* real = std::get_if<double>(&value)) return nlohmann::json(*real).dump();
  if (auto const* truth = std::get_if<bool>(&value)) return *truth ? "true" : "false";
  if (auto const* text = std::get_if<std::string_view>(&value)) return in_quotes(*text);
  return "a list";
}

/// Values of the same fact twice, and windows that no text outgrows, change nothing either.
bool changes_nothing(gguf_file const& file, std::string const& architecture, std::string_view name, gguf_value const& value) {
  auto const number = as_number(value);
  auto const same_as = [&](char const* other) {
    auto const* const stated = file.find(architecture + other);
    return number && stated != nullptr && as_number(*stated) == number;
  };
  if (name == "attention.value_length") return same_as("attention.key_length");
  if (name == "attention.scale" && number) {
    auto const* const head = file.find(architecture + "attention.key_length");
    auto const size = head == nullptr ? std::nullopt : as_number(*head);
    if (size && std::abs(*number - 1 / std::sqrt(*size)) < 1e-5) return true;
  }
  if (name == "attention.sliding_window") {
    auto const* const context = file.find(architecture + "context_length");
    return number && (*number <= 0 || (context != nullptr && as_number(*context) <= number));
  }
  for (auto const& key : decisive)
    if (key.name == name) return number && (number == key.neutral || number == key.also);
  return false;
}

}  // namespace

void check_kind(gguf_file const& file) {
  auto const type = file.string("general.type").value_or("model");
  if (type != "model")
    throw error(in_quotes(file.path().string()) + ": it holds no language model but the kind " + in_quotes(type) + " (general.type); pass the model's own file");
}

std::vector<std::string> check_unread(gguf_file const& file) {
  std::string const architecture = std::string{*file.string("general.architecture")} + ".";
  std::vector<std::string> unused;
  for (std::string_view const key : file.unread(architecture)) {
    std::string_view const name = key.substr(architecture.size());
    gguf_value const& value = *file.find(key);
    if (changes_nothing(file, architecture, name, value) || among(idle, name)) continue;
    bool const refused = name == "attention.value_length" ||
                         std::any_of(std::begin(decisive), std::end(decisive), [&](auto const& k) { return k.name == name; });
    if (refused)
      throw error(in_quotes(file.path().string()) + ": the metadata key " + in_quotes(key) + " is " + as_text(value) +
                  ", which kedge does not compute for this architecture; use another model");
    unused.push_back(std::string{key} + " = " + as_text(value));
  }
  for (std::string_view const key : file.unread("tokenizer."))
    if (!among(idle_tokens, key)) unused.emplace_back(key);
  if (unused.empty()) return {};
  return {"of its metadata kedge does not use " + listed(unused)};
}

}  // namespace kedge::llm
