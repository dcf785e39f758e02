// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/names.hpp>
#include <kedge/llm/base/screen.hpp>
#include <kedge/llm/base/settings_list.hpp>
#include <kedge/llm/data/reading.hpp>
#include <kedge/llm/formats/dtype.hpp>
#include <kedge/llm/model/base_settings.hpp>
#include <kedge/llm/model/lora_settings.hpp>
#include <kedge/llm/train/device_settings.hpp>
#include <kedge/llm/train/evaluation.hpp>
#include <kedge/llm/model/fsdp.hpp>
#include <kedge/llm/scale/launch.hpp>
#include <kedge/llm/train/lr_schedule.hpp>
#include <kedge/llm/train/optimizer_choice.hpp>

namespace kedge::llm {

/// The type of weights that are written.
enum class saved_type { float32, bfloat16, float16 };
constexpr auto names(saved_type) {
  return std::array{named{saved_type::float32, "float32"}, named{saved_type::bfloat16, "bfloat16"},
                    named{saved_type::float16, "float16"}};
}
[[nodiscard]] constexpr dtype stored(saved_type type) {
  return type == saved_type::float32 ? dtype::f32 : type == saved_type::bfloat16 ? dtype::bf16 : dtype::f16;
}

/// Where the figures of a run go besides metrics.jsonl. "all" is all that there is.
enum class report_target { tensorboard, none };
constexpr auto names(report_target) {
  return std::array{named{report_target::tensorboard, "tensorboard"}, named{report_target::none, "none"},
                    named{report_target::tensorboard, "all"}};
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
  [[nodiscard]] static std::optional<resume_point> read(std::string_view text, number_range const&) {
    return resume_point(text);
  }
  [[nodiscard]] static nlohmann::ordered_json write(resume_point const& value);
  [[nodiscard]] static bool valid(resume_point const&, number_range const&) { return true; }
  [[nodiscard]] static std::string form(number_range const&) { return "latest, or a folder checkpoints/step-N"; }
};

template <>
struct setting_type<lr_scheduler_kwargs> {
  [[nodiscard]] static std::optional<lr_scheduler_kwargs> read(std::string_view text, number_range const&) {
    return read_lr_scheduler_kwargs(std::string(text));
  }
  [[nodiscard]] static nlohmann::ordered_json write(lr_scheduler_kwargs const& value);
  [[nodiscard]] static bool valid(lr_scheduler_kwargs const&, number_range const&) { return true; }
  [[nodiscard]] static std::string form(number_range const&) { return "a JSON object"; }
};

template <>
struct setting_type<module_numbers> {
  [[nodiscard]] static std::optional<module_numbers> read(std::string_view text, number_range const&) {
    return read_module_numbers(std::string(text));
  }
  [[nodiscard]] static nlohmann::ordered_json write(module_numbers const& value);
  [[nodiscard]] static bool valid(module_numbers const&, number_range const&) { return true; }
  [[nodiscard]] static std::string form(number_range const&) { return "a JSON object"; }
};

template <>
struct setting_type<optimizer_choice> {
  [[nodiscard]] static std::optional<optimizer_choice> read(std::string_view text, number_range const&) {
    return optimizer_choice(text);
  }
  [[nodiscard]] static nlohmann::ordered_json write(optimizer_choice value) { return value.name(); }
  [[nodiscard]] static bool valid(optimizer_choice, number_range const&) { return true; }
  [[nodiscard]] static std::string form(number_range const&);
};

/// What every training run is told, whatever it trains on. Names and meanings are TRL's where it has them.
struct run_settings : evaluation_settings {
  std::filesystem::path model;  ///< --model_name_or_path
  std::filesystem::path output_dir = "trainer_output";
  device_settings compute;
  bool use_peft = false;  ///< train an adapter on the frozen model
  lora_settings lora;
  base_settings base;     ///< how the model under the adapter is held

  double learning_rate = 1e-6;
  lr_scheduler lr_scheduler_type = lr_scheduler::linear;
  lr_scheduler_kwargs lr_kwargs;  ///< --lr_scheduler_kwargs
  double warmup_ratio = 0;
  double warmup_steps = 0;      ///< wins over the ratio if > 0; below 1: a share of the steps itself
  double num_train_epochs = 3;  ///< of each round
  std::size_t max_steps = 0;    ///< of each round; 0: as the epochs say
  std::size_t per_device_train_batch_size = 8;
  std::size_t gradient_accumulation_steps = 1;
  std::size_t per_device_eval_batch_size = 8;
  std::size_t max_length = 1024;  ///< 0: no limit
  llm::truncation_mode truncation_mode = llm::truncation_mode::keep_start;
  data_format dataset_format = data_format::automatic;
  llm::ranked_pairs ranked_pairs = llm::ranked_pairs::best_worst;
  std::size_t max_train_samples = 0;  ///< 0: all
  std::size_t max_eval_samples = 0;
  double max_grad_norm = 1.0;
  double weight_decay = 0;
  optimizer_choice optim;
  std::filesystem::path paged_dir;  ///< where a paged optimizer's state lies; empty: output_dir
  double adam_beta1 = 0.9, adam_beta2 = 0.999, adam_epsilon = 1e-8;
  std::uint64_t seed = 42;
  bool shuffle = true;
  bool skip_bad_lines = false;

  step_count logging_steps = 10;
  step_count save_steps = 500;                  ///< 0: only at an interrupt
  std::size_t save_total_limit = 0;             ///< checkpoints kept, the newest and the best; 0: all
  saved_type save_dtype = saved_type::float32;  ///< of the written weights; narrower types round small updates away
  resume_point resume_from_checkpoint;
  bool overwrite_output_dir = false;
  std::size_t ddp_timeout = 1800;  ///< seconds that one process of several waits for the others
  std::size_t context_parallel_size = 1;  ///< processes that compute the tokens of an example together
  fsdp_choice fsdp;                ///< what processes divide beside the optimizer's state
  launch where{};                  ///< which of several processes this is
  screen tells{};                  ///< what the run says as it goes
  bool quiet = false;              ///< it says nothing
  std::vector<report_target> report_to{report_target::tensorboard};
  bool profile = false;                 ///< tell at the end where the steps' time went
  std::filesystem::path profile_trace;  ///< every tensor operation with its time, in Chrome's format; empty: none

  /// Where this process speaks: nowhere if it is quiet, or one of several that doesn't lead.
  [[nodiscard]] screen says() const { return quiet || where.rank != 0 ? screen() : tells; }
  [[nodiscard]] bool writes_events() const {
    return std::find(report_to.begin(), report_to.end(), report_target::tensorboard) != report_to.end();
  }
  /// How its data sets are read; `most`: see max_train_samples.
  [[nodiscard]] reading reads(std::size_t most) const {
    return {.format = dataset_format, .pairs = ranked_pairs, .most = most, .skip_bad_lines = skip_bad_lines};
  }
  /// Examples that one optimiser step sees, over all processes.
  [[nodiscard]] std::size_t batch() const {
    return per_device_train_batch_size * gradient_accumulation_steps * static_cast<std::size_t>(where.size) / context_parallel_size;
  }
};

/// How a run ended, whatever it trained on.
struct run_result {
  bool interrupted = false;
  std::size_t steps = 0;
  double final_loss = 0;
  double train_seconds = 0;  ///< reference passes included, loading and evaluation not
  std::size_t examples = 0;  ///< trained on, repeats counted
  std::size_t tokens = 0;    ///< useful ones: prompts shared, nothing padded
  std::size_t peak_memory_bytes = 0;
  std::filesystem::path checkpoint;      ///< last one written
  bool stopped_early = false;            ///< evaluations were no better for early_stopping_patience times
  std::optional<std::size_t> best_step;  ///< after which the model was best, where a metric for it was watched
  double best_metric = 0;
};

/// How a run without rounds ended.
struct one_round_result : run_result {
  nlohmann::ordered_json evaluations;  ///< an object each, as in metrics.jsonl
};

/// What a flag, a configuration file, a resume and a record know of these settings.
void declare(settings_list& list, evaluation_settings& settings);
void declare(settings_list& list, run_settings& settings);

/// --ddp_timeout, of all that several processes do together.
void declare_company(settings_list& list, std::size_t& ddp_timeout);

/// --router_aux_loss_coef, of the methods that add such a loss.
void declare_router(settings_list& list, std::optional<double>& coefficient);

}  // namespace kedge::llm
