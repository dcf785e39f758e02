// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/names.hpp>
#include <kedge/llm/base/screen.hpp>
#include <kedge/llm/base/settings_list.hpp>
#include <kedge/llm/formats/dtype.hpp>
#include <kedge/llm/model/config.hpp>
#include <kedge/llm/train/evaluation.hpp>
#include <kedge/llm/train/launch.hpp>
#include <kedge/llm/train/loss_choice.hpp>
#include <kedge/llm/train/lr_schedule.hpp>
#include <kedge/llm/train/on_policy.hpp>
#include <kedge/llm/train/optimizer_choice.hpp>
#include <kedge/llm/train/reference.hpp>

namespace kedge::llm {

/// The type that a model computes in.
enum class compute_type { automatic, float32, bfloat16, float64 };
constexpr auto names(compute_type) {
  return std::array{named{compute_type::automatic, "auto"}, named{compute_type::float32, "float32"}, named{compute_type::bfloat16, "bfloat16"},
                    named{compute_type::float64, "float64"}};
}

/// What a training run in bfloat16 multiplies by.
enum class weights_type { automatic, bfloat16 };
constexpr auto names(weights_type) { return std::array{named{weights_type::automatic, "auto"}, named{weights_type::bfloat16, "bfloat16"}}; }

/// Something that is done where it pays, always, or never.
enum class when { automatic, on, off };
constexpr auto names(when) {
  return std::array{named{when::automatic, "auto"}, named{when::on, "on"}, named{when::off, "off"}, named{when::on, "true"}, named{when::off, "false"}};
}

/// The type of weights that are written.
enum class saved_type { float32, bfloat16, float16 };
constexpr auto names(saved_type) {
  return std::array{named{saved_type::float32, "float32"}, named{saved_type::bfloat16, "bfloat16"}, named{saved_type::float16, "float16"}};
}
[[nodiscard]] constexpr dtype stored(saved_type type) {
  return type == saved_type::float32 ? dtype::f32 : type == saved_type::bfloat16 ? dtype::bf16 : dtype::f16;
}

/// Where a run goes on: nowhere, at the newest checkpoint of its folder, or at one that is named.
struct resume_point {
  resume_point() = default;
  resume_point(std::string_view text);
  resume_point(char const* text) : resume_point(std::string_view(text)) {}
  resume_point(std::string const& text) : resume_point(std::string_view(text)) {}

  bool newest = false;
  std::filesystem::path folder;
  [[nodiscard]] explicit operator bool() const { return newest || !folder.empty(); }
};
template <>
struct setting_type<resume_point> {
  [[nodiscard]] static std::optional<resume_point> read(std::string_view text, number_range const&) { return resume_point(text); }
  [[nodiscard]] static nlohmann::ordered_json write(resume_point const& value);
  [[nodiscard]] static bool valid(resume_point const&, number_range const&) { return true; }
  [[nodiscard]] static std::string form(number_range const&) { return "latest, or a folder checkpoints/step-N"; }
};

template <>
struct setting_type<lr_scheduler_kwargs> {
  [[nodiscard]] static std::optional<lr_scheduler_kwargs> read(std::string_view text, number_range const&) { return read_lr_scheduler_kwargs(std::string(text)); }
  [[nodiscard]] static nlohmann::ordered_json write(lr_scheduler_kwargs const& value);
  [[nodiscard]] static bool valid(lr_scheduler_kwargs const&, number_range const&) { return true; }
  [[nodiscard]] static std::string form(number_range const&) { return "a JSON object"; }
};

template <>
struct setting_type<optimizer_choice> {
  [[nodiscard]] static std::optional<optimizer_choice> read(std::string_view text, number_range const&) { return optimizer_choice(text); }
  [[nodiscard]] static nlohmann::ordered_json write(optimizer_choice value) { return value.name(); }
  [[nodiscard]] static bool valid(optimizer_choice, number_range const&) { return true; }
  [[nodiscard]] static std::string form(number_range const&);
};

/// Where and how the model computes.
struct device_settings {
  compute_type dtype = compute_type::automatic;
  weights_type weights_dtype = weights_type::automatic;  ///< automatic: fp32 masters where they are as fast
  std::string device = "cpu";       ///< cpu | cuda | cuda:N
  int threads = 0;                  ///< 0: all cores
  std::size_t micro_batch_tokens = 512;   ///< tokens computed at once; a memory setting that changes no result
  when gradient_checkpointing = when::automatic;  ///< compute layers again on the way back instead of keeping them
  when cuda_graphs = when::automatic;     ///< batches padded to few sizes, whose passes are recorded and replayed; automatic: on a GPU
};

/// What every training run is told, whatever it trains on. Names and meanings are TRL's where it has them.
struct run_settings : evaluation_settings {
  std::filesystem::path model;                   ///< --model_name_or_path
  std::filesystem::path output_dir = "trainer_output";
  device_settings compute;
  bool use_peft = false;                         ///< train an adapter on the frozen model
  lora_settings lora;

  double learning_rate = 1e-6;
  lr_scheduler lr_scheduler_type = lr_scheduler::linear;
  lr_scheduler_kwargs lr_kwargs;                 ///< --lr_scheduler_kwargs
  double warmup_ratio = 0;
  double warmup_steps = 0;                       ///< wins over the ratio if > 0; below 1: a share of the steps itself
  double num_train_epochs = 3;                   ///< of each round
  std::size_t max_steps = 0;                     ///< of each round; 0: as the epochs say
  std::size_t per_device_train_batch_size = 8;
  std::size_t gradient_accumulation_steps = 1;
  std::size_t per_device_eval_batch_size = 8;
  std::size_t max_length = 1024;                 ///< 0: no limit
  std::size_t max_train_samples = 0;             ///< 0: all
  std::size_t max_eval_samples = 0;
  double max_grad_norm = 1.0;
  double weight_decay = 0;
  optimizer_choice optim;
  double adam_beta1 = 0.9, adam_beta2 = 0.999, adam_epsilon = 1e-8;
  std::uint64_t seed = 42;
  bool shuffle = true;
  bool skip_bad_lines = false;

  step_count logging_steps = 10;
  step_count save_steps = 500;                   ///< 0: only at an interrupt
  std::size_t save_total_limit = 0;              ///< checkpoints kept, the newest and the best; 0: all
  saved_type save_dtype = saved_type::float32;   ///< of the written weights; narrower types round small updates away
  resume_point resume_from_checkpoint;
  bool overwrite_output_dir = false;
  std::size_t ddp_timeout = 1800;                ///< seconds that one process of several waits for the others
  launch where{};                                ///< which of several processes this is
  screen tells{};                                ///< what the run says as it goes
  bool quiet = false;                            ///< it says nothing
  bool profile = false;                          ///< tell at the end where the steps' time went
  std::filesystem::path profile_trace;           ///< every tensor operation with its time, in Chrome's format; empty: none

  /// Where this process speaks: nowhere if it is quiet, or one of several that doesn't lead.
  [[nodiscard]] screen says() const { return quiet || where.rank != 0 ? screen() : tells; }
  /// Examples that one optimiser step sees, over all processes.
  [[nodiscard]] std::size_t batch() const { return per_device_train_batch_size * gradient_accumulation_steps * static_cast<std::size_t>(where.size); }
};

/// A training run on preference pairs.
struct training_settings : run_settings {
  std::vector<std::filesystem::path> dataset;    ///< one file, or one a round
  std::filesystem::path eval_dataset;            ///< empty: no evaluation
  loss_settings loss;
  double min_score_gap = 0;                      ///< keep training pairs with score_chosen − score_rejected at least this; 0: all
  double eval_min_score_gap = 0;                 ///< the same for held-out pairs
  std::optional<double> ld_alpha;                ///< LD-DPO: weight, in [0, 1], of tokens beyond the shorter completion of a pair; unset: 1
  bool use_weighting = false;                    ///< WPO: a pair counts as the policy itself would sample its two completions
  std::filesystem::path ref_model;               ///< --ref_model_name_or_path: the first round's reference; empty: where the round starts
  bool sync_ref_model = false;                   ///< TR-DPO: the reference moves toward the policy while a round trains
  double ref_model_mixup_alpha = 0.6;            ///< by so much, in [0, 1]: θ_ref ← α θ + (1 − α) θ_ref
  std::size_t ref_model_sync_steps = 512;        ///< after so many optimiser steps each
  std::size_t precision_pairs = 50;              ///< on so many at most a run in bf16 measures what rounding does to margins; 0: none
};

enum class round_method { dpo, sdpo, apo };
constexpr auto names(round_method) {
  return std::array{named{round_method::dpo, "dpo"}, named{round_method::sdpo, "sdpo"}, named{round_method::apo, "apo"}};
}

/// The order of the chunks that a data set is cut into.
enum class chunk_order { given, easy_to_hard, hard_to_easy, random };
constexpr auto names(chunk_order) {
  return std::array{named{chunk_order::given, "given"}, named{chunk_order::easy_to_hard, "easy-to-hard"}, named{chunk_order::hard_to_easy, "hard-to-easy"},
                    named{chunk_order::random, "random"}};
}

/// What makes a pair easy.
enum class pair_difficulty { score_gap, logp_margin };
constexpr auto names(pair_difficulty) {
  return std::array{named{pair_difficulty::score_gap, "score-gap", "score_chosen - score_rejected"},
                    named{pair_difficulty::logp_margin, "logp-margin", "log-probability margin of the start"}};
}

/// What is extrapolated between rounds.
enum class extrapolated { weights, log_probs };
constexpr auto names(extrapolated) { return std::array{named{extrapolated::weights, "weights"}, named{extrapolated::log_probs, "log-probs"}}; }

/// Which completions of a prompt make pairs.
enum class pairing_rule { best_worst, all };
constexpr auto names(pairing_rule) { return std::array{named{pairing_rule::best_worst, "best-worst"}, named{pairing_rule::all, "all"}}; }

/// What fresh pairs are sampled from.
enum class sampled_policy { weights, mixture };
constexpr auto names(sampled_policy) { return std::array{named{sampled_policy::weights, "weights"}, named{sampled_policy::mixture, "mixture"}}; }

/// What makes the rounds of a run.
struct round_settings {
  round_method method = round_method::dpo;
  std::size_t rounds = 1;
  std::size_t chunks = 0;                        ///< cut one data set into so many rounds; 0: one file a round
  chunk_order order = chunk_order::given;
  pair_difficulty difficulty = pair_difficulty::score_gap;
  reference_choice reference{.what = reference_kind::hand_off};  ///< goes with momentum only as hand-off
  momentum_choice momentum = momentum_choice::none;
  std::vector<double> alpha{0.3};                ///< constant momentum; several: α_1, α_2, … , the last one goes on
  std::vector<double> beta{};                    ///< a β for each round, the last one goes on; empty: the loss's
  double nesterov_s = 3;
  double kappa = 1;                              ///< condition number, of strongly convex momentum
  extrapolated extrapolate = extrapolated::weights;

  // Fresh pairs each round: sampled from the round's anchor, rewarded, paired. Off while sampling.prompts is empty.
  on_policy_settings sampling{};
  std::size_t prompts_per_round = 0;             ///< 0: all
  std::size_t num_samples = 4;                   ///< completions of a prompt
  pairing_rule pairing = pairing_rule::best_worst;
  sampled_policy sample_from = sampled_policy::weights;  ///< the extrapolated model, or both models' log-probabilities, token by token

  [[nodiscard]] bool online() const { return !sampling.prompts.empty(); }
};

/// How a model does on held-out pairs, its rewards measured against the start of the run, or the reference that was given. Means over pairs.
struct evaluation {
  std::size_t round = 0;                         ///< rounds completed
  double loss = 0, accuracy = 0, margin = 0;
  double reward_chosen = 0, reward_rejected = 0;
  double logp_chosen = 0, logp_rejected = 0;     ///< nats a completion
  double fall = 0;                               ///< by so much the pairs' completions are less likely than under the reference, nats a completion
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
  double margin = 0;                             ///< median size of the margins themselves, in fp32
};

/// How a run ended, whatever it trained on.
struct run_result {
  bool interrupted = false;
  std::size_t steps = 0;
  double final_loss = 0;
  double train_seconds = 0;                      ///< reference passes included, loading and evaluation not
  std::size_t examples = 0;                      ///< trained on, repeats counted
  std::size_t tokens = 0;                        ///< useful ones: prompts shared, nothing padded
  std::size_t peak_memory_bytes = 0;
  std::filesystem::path checkpoint;              ///< last one written
  bool stopped_early = false;                    ///< evaluations were no better for early_stopping_patience times
  std::optional<std::size_t> best_step;          ///< after which the model was best, where a metric for it was watched
  double best_metric = 0;
};

/// How a run without rounds ended.
struct one_round_result : run_result {
  nlohmann::ordered_json evaluations;            ///< an object each, as in metrics.jsonl
};

/// How a run on preference pairs ended.
struct training_result : run_result {
  double reference_seconds = 0;
  double effective_beta = 0;                     ///< β of the plain run that ends at the same place under exact dynamics
  std::vector<evaluation> evaluations;
  std::vector<policy_evaluation> policy_evaluations;  ///< on held-out prompts, under the judge
  double sample_seconds = 0, judge_seconds = 0;  ///< of online rounds
  std::optional<margin_noise> noise{};           ///< of the last round, where it was measured
};

/// β of the plain iterative run that ends at the same policy as these rounds, under exact Bradley–Terry dynamics.
/// `beta`: of the rounds that round_settings gives none
[[nodiscard]] double effective_beta(round_settings const& rounds, std::size_t count, double beta);

template <>
struct setting_type<reference_choice> {
  [[nodiscard]] static std::optional<reference_choice> read(std::string_view text, number_range const&) { return parse_reference(std::string(text)); }
  [[nodiscard]] static nlohmann::ordered_json write(reference_choice const& value);
  [[nodiscard]] static bool valid(reference_choice const&, number_range const&) { return true; }
  [[nodiscard]] static std::string form(number_range const&) { return all_names<reference_kind>() + ", or a model's folder"; }
};

/// What a flag, a configuration file, a resume and a record know of these settings.
void declare(settings_list& list, evaluation_settings& settings);
void declare(settings_list& list, device_settings& settings);
void declare_training(settings_list& list, device_settings& settings);  ///< and what only training has
void declare(settings_list& list, run_settings& settings);
void declare(settings_list& list, training_settings& settings);
void declare(settings_list& list, loss_settings& settings);
void declare(settings_list& list, on_policy_settings& settings);
/// The reference of dpo; the rounds of sdpo; those of apo. Each has the former as well.
void declare_reference(settings_list& list, round_settings& settings);
void declare_chunks(settings_list& list, round_settings& settings);
void declare_rounds(settings_list& list, round_settings& settings);

/// All settings of a run on preference pairs, bound to these.
[[nodiscard]] settings_list settings_of(training_settings& settings, round_settings& rounds);

/// Trains: dpo, sdpo and apo are settings of the same rounds. Writes the model, metrics.jsonl and checkpoints to output_dir.
/// throws  error in one line
training_result train_preferences(training_settings const& settings, round_settings const& rounds);

}  // namespace kedge::llm
