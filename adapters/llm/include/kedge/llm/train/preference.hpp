// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/settings_list.hpp>
#include <kedge/llm/train/loss_choice.hpp>
#include <kedge/llm/train/rounds.hpp>
#include <kedge/llm/train/run_settings.hpp>

namespace kedge::llm {

/// A training run on preference pairs.
struct training_settings : run_settings {
  std::vector<std::filesystem::path> dataset;  ///< one file, or one a round
  std::filesystem::path eval_dataset;          ///< empty: no evaluation
  loss_settings loss;
  double min_score_gap = 0;        ///< keep training pairs with score_chosen − score_rejected at least this; 0: all
  double eval_min_score_gap = 0;   ///< the same for held-out pairs
  std::optional<double> ld_alpha;  ///< LD-DPO: weight, in [0, 1], of tokens beyond the shorter completion of a pair; unset: 1
  std::optional<double>
      router_aux_loss_coef;    ///< of mixtures of experts: weight of the loss that evens out their use; unset: the config's
  bool use_weighting = false;  ///< WPO: a pair counts as the policy itself would sample its two completions
  std::filesystem::path ref_model;     ///< --ref_model_name_or_path: the first round's reference; empty: where the round starts
  bool sync_ref_model = false;         ///< TR-DPO: the reference moves toward the policy while a round trains
  double ref_model_mixup_alpha = 0.6;  ///< by so much, in [0, 1]: θ_ref ← α θ + (1 − α) θ_ref
  std::size_t ref_model_sync_steps = 512;  ///< after so many optimiser steps each
  std::size_t precision_pairs = 50;        ///< on so many at most a run in bf16 measures what rounding does to margins; 0: none
};

/// How a model does on held-out pairs, its rewards measured against the start of the run, or the reference that was given. Means over pairs.
struct evaluation {
  std::size_t round = 0;  ///< rounds completed
  double loss = 0, accuracy = 0, margin = 0;
  double reward_chosen = 0, reward_rejected = 0;
  double logp_chosen = 0, logp_rejected = 0;  ///< nats a completion
  double fall = 0;  ///< by so much the pairs' completions are less likely than under the reference, nats a completion
  double logits_chosen = 0, logits_rejected = 0;  ///< logits, means over the vocabulary and the completions' tokens
  double entropy = 0;                             ///< of the next token, nats, mean over the completions' tokens
  double token_accuracy = 0;                      ///< share of the chosen completions' tokens that are the likeliest ones
  std::size_t pairs = 0;
};

/// {"round", "eval_loss", "eval_rewards/accuracies", …}: the names of metrics.jsonl, of summaries and of checkpoints.
[[nodiscard]] nlohmann::ordered_json as_json(evaluation const& e);
/// throws  nlohmann::json::exception where a key is missing
[[nodiscard]] evaluation evaluation_from(nlohmann::ordered_json const& e);

/// What bf16 does to the margins of policy over reference that a round's loss sees, on some of its pairs, nats: |bf16 − fp32|.
struct margin_noise {
  std::size_t pairs = 0;
  double median = 0, maximum = 0;
  double margin = 0;  ///< median size of the margins themselves, in fp32
};

/// How a run on preference pairs ended.
struct training_result : run_result {
  double reference_seconds = 0;
  double effective_beta = 0;  ///< β of the plain run that ends at the same place under exact dynamics
  std::vector<evaluation> evaluations;
  std::vector<policy_evaluation> policy_evaluations;  ///< on held-out prompts, under the judge
  double sample_seconds = 0, judge_seconds = 0;       ///< of online rounds
  std::optional<margin_noise> noise{};                ///< of the last round, where it was measured
};

void declare(settings_list& list, loss_settings& settings);
void declare(settings_list& list, training_settings& settings);

/// All settings of a run on preference pairs, bound to these.
[[nodiscard]] settings_list settings_of(training_settings& settings, round_settings& rounds);

/// How many rounds a run has: of fresh pairs as many as it is told, else one a chunk or a file.
[[nodiscard]] std::size_t round_count(training_settings const& settings, round_settings const& rounds);

/// Trains: dpo, sdpo and apo are settings of the same rounds. Writes the model, metrics.jsonl and checkpoints to output_dir.
/// throws  error in one line
training_result train_preferences(training_settings const& settings, round_settings const& rounds);

}  // namespace kedge::llm
