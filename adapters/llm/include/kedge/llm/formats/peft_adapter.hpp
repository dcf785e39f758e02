// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/names.hpp>
#include <kedge/llm/formats/safetensors.hpp>

namespace kedge::llm {

/// What PEFT calls a model's task.
enum class peft_task { language_model, sequence_score };

constexpr auto names(peft_task) {
  return std::array<named<peft_task>, 2>{{{peft_task::language_model, "CAUSAL_LM"}, {peft_task::sequence_score, "SEQ_CLS"}}};
}

/// True where a folder holds an adapter (adapter_config.json), alone or beside a model, which then is its base, as in transformers.
[[nodiscard]] bool is_adapter(std::filesystem::path const& folder);

/// What a plain adapter adds to a weight, scale · B A, as it lies in the file. A: [r, in], B: [out, r]
struct low_rank_entry {
  safetensors_entry a, b;
  double scale = 1;
};

/// A LoRA adapter in a folder that PEFT wrote, as what it makes of each parameter of its base: W + s B A, s = alpha / r or alpha / √r,
/// with ranks and scales by patterns; DoRA, m ∘ (W + s B A) / ‖W + s B A‖; biases of B; adapters of the embedding and the head; modules
/// saved whole, resized embeddings, single tokens; stacked weights of experts. Which modules it is on says the file itself. What can't be merged is refused.
class peft_adapter {
 public:
  /// Reads adapter_config.json and opens adapter_model.safetensors.
  /// throws  kedge::llm::error naming the folder and the key of what is missing, not supported, or of the wrong kind
  explicit peft_adapter(std::filesystem::path folder);

  [[nodiscard]] std::filesystem::path const& folder() const { return folder_; }
  /// base_model_name_or_path, as it stands there.
  [[nodiscard]] std::filesystem::path const& base() const { return base_; }
  [[nodiscard]] peft_task task() const { return task_; }
  [[nodiscard]] nlohmann::ordered_json const& config() const { return config_; }
  /// Keys that are on and that neither PEFT 0.21 nor kedge knows: they change nothing here. Empty: there is none.
  [[nodiscard]] std::string const& unknown_keys() const { return unknown_; }

  /// All that it is, by the weight of the base, where it is products on weights and nothing else.
  /// throws  kedge::llm::error naming a tensor that is more
  [[nodiscard]] std::map<std::string, low_rank_entry, std::less<>> products() const;

  /// Whether embedding and head differ afterwards, so that they can't be one tensor.
  [[nodiscard]] bool unties_head() const;
  /// Parameters that it adds something to although the base may have none of them: biases of maps (lora_bias).
  [[nodiscard]] std::vector<std::string> biases() const;
  /// Rows of the embedding that it brings; nothing where it brings none.
  [[nodiscard]] std::optional<std::int64_t> vocabulary() const;

  /// A parameter, with the adapter merged into it.
  /// name    Hugging Face's ("model.layers.0.self_attn.q_proj.weight"); shape: that of the base, becomes that of the result
  /// numbers the base's, row-major; become the result's. Empty where the base has no such parameter
  void merge(std::string const& name, std::vector<std::int64_t>& shape, std::vector<float>& numbers) const;

  /// throws  kedge::llm::error naming a tensor that no parameter of these names takes
  void require_all_taken(std::vector<std::string> const& parameters) const;

 private:
  struct tensor {
    std::vector<std::int64_t> shape;
    std::vector<float> numbers;
  };

  void check_config();
  void add_tensors();
  /// The tensor of a module that has this end ("lora_A.weight"), read; nothing where there is none.
  [[nodiscard]] std::optional<tensor> read(std::string const& module, char const* end) const;
  [[nodiscard]] bool has(std::string const& module, char const* end) const { return tensors_.contains(module + "." + end); }
  [[nodiscard]] double scale_of(std::string const& module, std::int64_t rank) const;
  void replace(std::string const& name, std::vector<std::int64_t>& shape, std::vector<float>& numbers) const;
  void put_tokens(std::string const& module, std::vector<std::int64_t> const& shape, std::vector<float>& numbers) const;
  void add_product(std::string const& module, std::vector<std::int64_t> const& shape, std::vector<float>& numbers) const;
  void rescale(std::string const& module, std::vector<std::int64_t> const& shape, bool by_column,
               std::vector<float>& numbers) const;
  void add_expert_product(std::string const& name, std::vector<std::int64_t> const& shape, std::vector<float>& numbers) const;
  [[nodiscard]] std::int64_t rank_of(std::string const& module) const;
  [[nodiscard]] nlohmann::ordered_json by_pattern(char const* key, std::string const& module, nlohmann::ordered_json otherwise) const;
  [[nodiscard]] std::vector<std::int64_t> token_indices(std::string const& module) const;
  [[noreturn]] void fail(std::string const& what) const;

  std::filesystem::path folder_, base_;
  nlohmann::ordered_json config_;
  peft_task task_ = peft_task::language_model;
  std::string unknown_;
  std::shared_ptr<safetensors_file const> file_;
  std::map<std::string, std::size_t> tensors_;  // by the name of the base's module and what of it: their index in the file
};

}  // namespace kedge::llm
