// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/model/config.hpp>
#include <kedge/llm/train/loss_choice.hpp>
#include <kedge/llm/train/on_policy.hpp>

namespace kedge::llm {

/// Where and how the model computes.
struct device_settings {
  std::string dtype = "auto";       ///< auto | float32 | bfloat16 | float64
  std::string weights_dtype = "auto";  ///< auto | bfloat16: what a training run in bfloat16 multiplies by; auto: its fp32 masters where they are as fast
  std::string device = "cpu";       ///< cpu | cuda | cuda:N
  int threads = 0;                  ///< 0: all cores
  std::size_t micro_batch_tokens = 512;   ///< tokens computed at once; a memory setting that changes no result
  std::string gradient_checkpointing = "auto";  ///< auto | on | off: compute layers again on the way back instead of keeping them
  std::string cuda_graphs = "auto";       ///< auto | on | off: batches padded to few sizes, whose passes are recorded and replayed; auto: on a GPU
};

/// What every training run is told, whatever it trains on. Names and meanings are TRL's where it has them.
struct run_settings {
  std::filesystem::path model;                   ///< --model_name_or_path
  std::filesystem::path output_dir;
  device_settings compute;
  bool use_peft = false;                         ///< train an adapter on the frozen model
  lora_settings lora;

  double learning_rate = 1e-6;
  std::string lr_scheduler_type = "linear";
  double warmup_ratio = 0;
  std::size_t warmup_steps = 0;                  ///< wins over the ratio if > 0
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
  std::string optim = "adamw_torch_fused";       ///< adamw_torch_fused | adamw_bf16 | adamw_8bit: AdamW, its moments as named
  double adam_beta1 = 0.9, adam_beta2 = 0.999, adam_epsilon = 1e-8;
  std::uint64_t seed = 42;
  bool shuffle = true;
  bool skip_bad_lines = false;

  std::size_t logging_steps = 10;
  std::size_t save_steps = 500;                  ///< 0: only at an interrupt
  std::size_t save_total_limit = 0;              ///< checkpoints kept, the newest; 0: all
  std::string save_dtype = "float32";            ///< of the written weights; narrower types round small updates away
  std::string resume_from_checkpoint;            ///< empty, a folder, or "latest"
  bool overwrite_output_dir = false;
  std::size_t ddp_timeout = 1800;                ///< seconds that one process of several waits for the others
  std::size_t processes = 1;                     ///< that share each step: a run takes it from the environment (see launch)
  bool quiet = false;                            ///< no progress on stderr
  bool profile = false;                          ///< tell at the end where the steps' time went
  std::filesystem::path profile_trace;           ///< every tensor operation with its time, in Chrome's format; empty: none

  /// Examples that one optimiser step sees, over all processes.
  [[nodiscard]] std::size_t batch() const { return per_device_train_batch_size * gradient_accumulation_steps * processes; }
};

/// A training run on preference pairs.
struct training_settings : run_settings {
  std::vector<std::filesystem::path> dataset;    ///< one file, or one a round
  std::filesystem::path eval_dataset;            ///< empty: no evaluation
  loss_settings loss;
  double min_score_gap = 0;                      ///< keep training pairs with score_chosen − score_rejected at least this; 0: all
  double eval_min_score_gap = 0;                 ///< the same for held-out pairs
  std::size_t precision_pairs = 50;              ///< on so many at most a run in bf16 measures what rounding does to margins; 0: none
};

/// What makes the rounds of a run.
struct round_settings {
  std::string method = "dpo";                    ///< dpo | sdpo | apo
  std::size_t rounds = 1;
  std::size_t chunks = 0;                        ///< cut one data set into so many rounds; 0: one file a round
  std::string order = "given";                   ///< given | easy-to-hard | hard-to-easy | random, for chunks
  std::string difficulty = "score-gap";          ///< score-gap | logp-margin: what makes a pair easy
  std::string momentum = "none";                 ///< none | constant | nesterov
  std::vector<double> alpha{0.3};                ///< constant momentum; several: α_1, α_2, … , the last one goes on
  std::vector<double> beta{};                    ///< a β for each round, the last one goes on; empty: the loss's
  double nesterov_s = 3;
  std::string extrapolate = "weights";           ///< weights | log-probs

  // Fresh pairs each round: sampled from the round's anchor, rewarded, paired. Off while sampling.prompts is empty.
  on_policy_settings sampling{};
  std::size_t prompts_per_round = 0;             ///< 0: all
  std::size_t num_samples = 4;                   ///< completions of a prompt
  std::string pairing = "best-worst";            ///< best-worst | all
  std::string sample_from = "weights";           ///< weights: the extrapolated model | mixture: both models' log-probabilities, token by token

  [[nodiscard]] bool online() const { return !sampling.prompts.empty(); }
};

/// How a model does on held-out pairs, its rewards measured against the start of the run.
struct evaluation {
  std::size_t round = 0;                         ///< rounds completed
  double loss = 0, accuracy = 0, margin = 0;
  double kl = 0;                                 ///< KL(start ‖ model), nats a completion, estimated on the pairs' completions
  std::size_t pairs = 0;
};

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

/// Trains: dpo, sdpo and apo are settings of the same rounds. Writes the model, metrics.jsonl and checkpoints to output_dir.
/// throws  error in one line
training_result train_preferences(training_settings const& settings, round_settings const& rounds);

}  // namespace kedge::llm
