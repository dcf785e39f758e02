// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <kedge/llm/data/conversation.hpp>
#include <kedge/llm/data/demonstrations.hpp>
#include <kedge/llm/data/preferences.hpp>
#include <kedge/llm/data/prompts.hpp>
#include <kedge/llm/data/unpaired.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/model/lora.hpp>
#include <kedge/llm/model/memory_plan.hpp>
#include <kedge/llm/text/chat_template.hpp>
#include <kedge/llm/text/tokenizer.hpp>
#include <kedge/llm/train/run_settings.hpp>

#include "../scale/process_group.hpp"
#include "join_run.hpp"
#include "pair_input.hpp"

namespace kedge::llm {

class divided_model;

/// Prompts with the tokens that generation starts from.
struct encoded_prompts {
  std::vector<prompt_example> examples;
  std::vector<std::vector<std::int32_t>> ids;  ///< one list an example
};

/// What a run holds besides the one model that every run trains; see plan_settings.
struct held_besides {
  std::int64_t points = 0, models = 1;
  std::int64_t longest = 0;  ///< tokens of the longest example; 0: not known
};

/// A checkpoint opened for work: description, tokenizer and template; weights on request.
class session {
 public:
  /// A model, or an adapter, which then stands merged in its base. Sets the number of threads for the whole process.
  /// tells: where it says which lines were skipped
  session(std::filesystem::path const& path, device_settings const& device, screen tells = {});
  session(checkpoint opened, device_settings const& device, screen tells = {});

  /// Reads and encodes preference pairs; `look` and `keep`: see llm::read_pairs.
  /// throws  error naming file and line
  [[nodiscard]] std::vector<preference_pair> read_pairs(std::filesystem::path const& file, reading how, std::size_t max_length,
                                                        llm::truncation_mode truncation = llm::truncation_mode::keep_start,
                                                        line_reader const& look = {}, pair_filter const& keep = {}) const;

  /// Reads and encodes demonstrations.
  /// throws  error naming file and line
  [[nodiscard]] std::vector<demonstration_ids> read_demonstrations(std::filesystem::path const& file, reading how, demonstration_rules const& rules) const;

  /// Texts and messages to token ids.
  [[nodiscard]] conversation_encoder encoder() const;

  /// Single completions with labels, or pairs taken apart: see llm::read_unpaired.
  [[nodiscard]] std::vector<unpaired_ids> read_unpaired(std::filesystem::path const& file, reading how, std::size_t max_length) const;

  /// Reads and encodes prompts.
  /// throws  error naming file and line of one that has no token, or leaves no room for an answer
  [[nodiscard]] encoded_prompts read_prompts(std::filesystem::path const& file, reading how) const;

  /// The tokens that end a completion: eos_token_id of generation_config.json, or where there is no such file, of config.json.
  [[nodiscard]] std::vector<std::int32_t> stop_tokens() const;

  /// Divides a model that is trained, or scored beside it, as the settings say.
  void divide(causal_lm& model, run_settings const& settings, process_group const& group) const;

  /// fp32 master weights for a model of this checkpoint: of one that is divided this process's parts, and no others are read.
  /// score: the scalar head, where the checkpoint has none
  [[nodiscard]] pack load(causal_lm const& model, at::Tensor const& score = {}) const;

  /// fp32 master weights on the device.
  [[nodiscard]] pack load() const;
  /// The same on the host: for those that keep them in another type, which a device may have no room for beside.
  [[nodiscard]] pack load_on_host() const;

  /// throws  error if it is an adapter, on which no second one is trained
  void refuse_adapter() const;

  /// The adapter that a run trains: that of its settings, or the one that was opened, which goes on.
  /// throws  error if both are there and differ
  [[nodiscard]] lora_settings trained_adapter(run_settings const& settings) const;

  /// How the models that a run trains compute: a run has fp32 masters at hand, which other uses of a model have not, and keeps
  /// activations in what its states leave of the memory that is free now. Settles what its settings leave to that memory, alike in all processes.
  [[nodiscard]] compute_settings training_compute(run_settings& settings, held_besides const& held = {}, process_group const& group = {}) const;

  /// What a run trains: the model, or an adapter on it; from where; and how it is written. Settles the settings as training_compute.
  [[nodiscard]] causal_lm trained_model(run_settings& settings, held_besides const& held = {}, process_group const& group = {}) const;
  [[nodiscard]] pack trained_start(causal_lm const& model, std::uint64_t seed) const;
  void write_trained(causal_lm const& model, pack const& theta, run_settings const& settings) const;

  /// The frozen base of a run with an adapter; says in one line what of it stays quantised.
  [[nodiscard]] base_weights frozen(run_settings const& settings, transformer_config const& config, compute_settings const& compute,
                                    lora_settings const& lora) const;

  checkpoint source;
  std::optional<peft_adapter> adapter;
  transformer_config config;
  tokenizer tokens;
  std::optional<chat_template> chat;
  compute_settings compute;
  std::size_t scored_at_once = 0;  ///< tokens that passes take at once where nothing is trained

 private:
  session(std::filesystem::path const& path, std::optional<peft_adapter> files, device_settings const& device, screen tells);

  [[nodiscard]] plan_settings plan(run_settings const& settings, compute_settings const& own, held_besides const& held) const;

  screen tells_;
};

/// The memory that a run needs: by its optimiser, adapter, type and processes.
[[nodiscard]] plan_settings plan_of(run_settings const& settings, compute_settings const& compute, held_besides const& held = {});

/// Of a divided model's masters those that this process keeps, read from a checkpoint; `score` as session::load.
[[nodiscard]] pack load_own(checkpoint const& source, divided_model const& division, compute_settings const& compute, at::Tensor const& score = {});

/// The same computation in fp32.
[[nodiscard]] compute_settings in_fp32(compute_settings compute);

/// Parameters as masters of a computation: on its device, fp32, or fp64 where it computes in that.
[[nodiscard]] pack master_weights(pack theta, compute_settings const& compute);

/// The log-probabilities of all pairs, in file order, in batches of `batch` pairs, with LD-DPO's weights where ld_alpha is set. Several processes divide the pairs.
/// `figures`: of all tokens, in one batch, where they are asked for.
[[nodiscard]] pair_log_probs score_in_order(causal_lm const& model, pack const& weights, std::vector<preference_pair> const& pairs,
                                            std::size_t batch, std::size_t micro_batch_tokens, process_group const& group = {},
                                            std::optional<double> ld_alpha = {}, token_figures* figures = nullptr);

}  // namespace kedge::llm
