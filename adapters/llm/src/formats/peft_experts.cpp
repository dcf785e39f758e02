// SPDX-License-Identifier: Apache-2.0
#include "peft_experts.hpp"

#include <algorithm>
#include <regex>
#include <utility>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/peft_adapter.hpp>

#include "../base/thread_pool.hpp"

namespace kedge::llm {

using json = nlohmann::ordered_json;

std::optional<expert_weight> expert_weight_of(std::string const& parameter) {
  if (parameter.find(".experts.") == std::string::npos && parameter.find(".block_sparse_moe.") == std::string::npos) return std::nullopt;
  static std::regex const one(R"((.*)\.experts\.(\d+)\.(gate_proj|up_proj|down_proj|w1|w2|w3)\.weight)");
  static std::regex const all(R"((.*\.block_sparse_moe)\.(input_linear|output_linear)\.weight)");
  static std::regex const turned(R"((.*\.mlp\.experts)\.(gate_up_proj|down_proj))");
  std::smatch found;
  if (std::regex_match(parameter, found, all)) return expert_weight{found.str(1) + ".experts", found.str(2) == "output_linear"};
  if (std::regex_match(parameter, found, turned)) return expert_weight{found.str(1), found.str(2) == "down_proj", false, {}, true};
  if (!std::regex_match(parameter, found, one)) return std::nullopt;
  constexpr std::string_view old = ".block_sparse_moe";  // of Mixtral's files; transformers calls it mlp
  std::string place = found.str(1), word = found.str(3);
  if (place.ends_with(old)) place.replace(place.size() - old.size(), old.size(), ".mlp");
  return expert_weight{place + ".experts", word == "down_proj" || word == "w2", word == "up_proj" || word == "w3", std::stoll(found.str(2))};
}

std::int64_t peft_adapter::rank_of(std::string const& module) const {
  json const rank = by_pattern("rank_pattern", module, config_.value("r", json()));
  if (!rank.is_number_integer() || rank.get<std::int64_t>() < 1) fail("r: " + rank.dump() + " is no rank");
  return rank.get<std::int64_t>();
}

// ΔW_e = s B_e A_e: A_e are r rows, expert by expert; of B's columns the experts' alternate.
void peft_adapter::add_expert_product(std::string const& name, std::vector<std::int64_t> const& shape, std::vector<float>& numbers) const {
  auto const weight = expert_weight_of(name);
  if (!weight || numbers.empty()) return;
  // With adapters on both weights gate_up_proj's lies within down_proj's.
  bool const both = has(weight->module, "base_layer.lora_A.weight");
  json const names = config_.value("target_parameters", json());
  bool const down_alone = names.is_array() && std::any_of(names.begin(), names.end(), [](json const& n) { return n.is_string() && n.get<std::string>().ends_with("down_proj"); });
  if (!both && weight->down != down_alone) return;
  std::string const inner = both && !weight->down ? "base_layer." : "";
  auto const a = read(weight->module, (inner + "lora_A.weight").c_str()), b = read(weight->module, (inner + "lora_B.weight").c_str());
  if (!a && !b) return;
  std::string const parameter = weight->module + (weight->down ? ".down_proj" : ".gate_up_proj");
  std::int64_t rows = shape.at(shape.size() - 2), columns = shape.back();
  if (weight->turned) std::swap(rows, columns);
  std::int64_t const rank = rank_of(parameter), first = weight->upper ? rows : 0;
  bool const fits = a && b && a->shape.size() == 2 && b->shape.size() == 2 && a->shape[0] == b->shape[1] && a->shape[0] % rank == 0 && a->shape[1] == columns &&
                    b->shape[0] >= first + rows && weight->expert.value_or(0) < a->shape[0] / rank && (weight->expert || shape.front() == a->shape[0] / rank);
  if (!fits) throw error(file_->path().string() + ": the factors of " + parameter + " have other shapes than the base; the adapter belongs to another model");
  auto const E = static_cast<std::size_t>(a->shape[0] / rank), R = static_cast<std::size_t>(rank), M = static_cast<std::size_t>(rows), N = static_cast<std::size_t>(columns);
  auto const from = static_cast<std::size_t>(weight->expert.value_or(0)), offset = static_cast<std::size_t>(first);
  auto const scale = static_cast<float>(scale_of(parameter, rank));
  shared_pool().divide(numbers.size() / N, 1 + (1 << 16) / (R * N + 1), [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) {
      std::size_t const e = from + row / M, out = offset + row % M;
      for (std::size_t k = 0; k < R; ++k) {
        float const left = scale * b->numbers[out * R * E + k * E + e];
        float const* const right = &a->numbers[(e * R + k) * N];
        if (weight->turned)
          for (std::size_t j = 0; j < N; ++j) numbers[((row / M) * N + j) * M + row % M] += left * right[j];
        else
          for (std::size_t j = 0; j < N; ++j) numbers[row * N + j] += left * right[j];
      }
    }
  });
}

}  // namespace kedge::llm
