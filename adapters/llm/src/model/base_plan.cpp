// SPDX-License-Identifier: Apache-2.0
#include "base_plan.hpp"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <numeric>
#include <optional>
#include <set>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/gguf.hpp>
#include <kedge/llm/model/memory_plan.hpp>

#include "../formats/bnb.hpp"
#include "../kernels/kernels.hpp"
#include "adapter_layout.hpp"
#include "stored_tensors.hpp"

namespace kedge::llm {
namespace {

std::int64_t elements_of(parameter const& p) { return std::accumulate(p.shape.begin(), p.shape.end(), std::int64_t{1}, std::multiplies<>()); }

bool is_gguf(checkpoint const& source) { return !std::filesystem::is_directory(source.path()); }

// Matrices that aren't multiplied as maps: a router chooses, and a score is trained.
std::set<std::string> kept_apart(transformer_config const& config) {
  std::set<std::string> names{"score.weight"};
  for (std::int64_t i = 0; i < config.layers; ++i) names.insert(layer_parameter(config, i, router).name);
  return names;
}

void check(base_settings const& how, checkpoint const& source) {
  bool const on_load = how.load_in_4bit || how.load_in_8bit;
  if (how.load_in_4bit && how.load_in_8bit) throw error("--load_in_4bit and --load_in_8bit exclude each other; give one of them");
  if (on_load && how.storage != base_storage::automatic)
    throw error("--load_in_4bit and --load_in_8bit quantise what a file has, and --base_weights leaves it as it is or dequantises it; give one of them");
  if (on_load && is_gguf(source))
    throw error(source.path().string() + ": a GGUF file is quantised already, and stays as it is under an adapter; leave --load_in_4bit and --load_in_8bit out");
}

std::int64_t quantised_bytes(std::int64_t elements, std::int64_t rows, base_settings const& how) {
  if (how.load_in_8bit) return elements + 4 * rows;
  auto const blocks = (elements + std::int64_t{bnb::block} - 1) / std::int64_t{bnb::block};
  return (elements + 1) / 2 + (how.double_quant ? blocks + 4 * ((blocks + std::int64_t{bnb::scale_block} - 1) / std::int64_t{bnb::scale_block}) : 4 * blocks);
}

std::optional<dtype> type_of_word(std::int64_t word) {
  return word == 2 ? dtype::bf16 : word == 8 ? dtype::f64 : dtype::f32;
}

}  // namespace

base_settings settled(base_settings how, checkpoint const& source, bool on_host) {
  check(how, source);
  if (how.load_in_4bit || how.load_in_8bit || how.storage != base_storage::automatic) return how;
  how.storage = is_gguf(source) && on_host ? base_storage::file : base_storage::dequantized;
  return how;
}

std::vector<base_entry> plan_base(checkpoint const& source, transformer_config const& config, lora_settings const& lora, base_settings const& how,
                                  std::int64_t word) {
  check(how, source);
  adapter_layout const layout(config, lora);
  transformer_config own = layout.config();
  own.scalar_head = false;
  std::set<std::string> const apart = kept_apart(own);
  std::string const embedding = "model.embed_tokens.weight", head = "lm_head.weight";
  std::vector<base_entry> plan;
  std::vector<parameter> const all = parameters_of(own);
  for (std::size_t i = 0; i < all.size(); ++i) {
    base_entry& e = plan.emplace_back(base_entry{all[i], base_tensor(source, all[i].name)});
    adapted_place const& place = layout.of(i);
    e.trained = place.whole != adapted_place::none;
    std::int64_t const elements = elements_of(e.of);
    e.bytes = elements * (e.trained ? 4 : word);
    bool const turned = e.of.name == embedding && place.magnitude != adapted_place::none;  // DoRA asks for its columns' lengths
    if (e.trained || e.tensor.empty() || turned) continue;
    bool const matrix = e.of.shape.size() == 2 && !apart.contains(e.of.name);
    if (matrix && (how.load_in_4bit || how.load_in_8bit) && e.of.name != embedding && e.of.name != head) {
      e.as = held::quantised;
      e.bytes = quantised_bytes(elements, e.of.shape.front(), how);
    } else if (how.storage == base_storage::file && matrix && source.blocks(e.tensor)) {
      e.as = held::blocks;
      e.bytes = static_cast<std::int64_t>(source.blocks(e.tensor)->bytes.size());
    } else if (how.storage == base_storage::file && source.view(e.tensor, *type_of_word(word))) {
      e.as = held::mapped;
    }
  }
  return plan;
}

std::int64_t bytes_of(std::vector<base_entry> const& plan) {
  std::int64_t sum = 0;
  for (base_entry const& e : plan) sum += e.bytes;
  return sum;
}

nlohmann::ordered_json describe_bases(checkpoint const& source, transformer_config const& config) {
  constexpr std::int64_t tokens = 512, probability = sizeof(float);
  lora_settings const lora{.rank = 16, .target_modules = {"all-linear"}};
  std::int64_t const word = kernels().tile_product ? 2 : 4, kept_logits = std::min(default_kept_logits, tokens * config.vocabulary * probability);
  auto const resident = [&](base_settings const& how) {
    std::int64_t const frozen = bytes_of(plan_base(source, config, lora, how, word));
    return resident_bytes(plan_memory(config, {.lora = lora, .word = word, .frozen_bytes = frozen}), tokens, kept_logits);
  };
  nlohmann::ordered_json all;
  std::string const run = ", LoRA of rank 16, 512 tokens at once";
  if (is_gguf(source)) {
    all["host, file's own weights" + run] = resident({.storage = base_storage::file});
  } else {
    all["host, --load_in_8bit" + run] = resident({.load_in_8bit = true});
    all["host, --load_in_4bit" + run] = resident({.load_in_4bit = true});
  }
  all["host, dequantized" + run] = resident({.storage = base_storage::dequantized});
  return all;
}

}  // namespace kedge::llm
