// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>

#include <kedge/llm/train/run_settings.hpp>

namespace kedge::llm {

/// What is minimised over single completions.
enum class unpaired_loss { kto, apo_zero_unpaired };
constexpr auto names(unpaired_loss) {
  return std::array{named{unpaired_loss::kto, "kto", "KTO, Ethayarajh et al. 2024"},
                    named{unpaired_loss::apo_zero_unpaired, "apo_zero_unpaired", "Anchored (not accelerated) PO, zero, D'Oosterlinck et al. 2024"}};
}

/// A run on single completions with labels. Names, meanings and defaults are those of TRL's KTOConfig where it has them.
struct kto_settings : run_settings {
  kto_settings() { shuffle = false; }

  std::filesystem::path dataset;       ///< prompt, completion and label; or preference pairs, of which each makes two
  std::filesystem::path eval_dataset;  ///< the same, measured before, while and after training; empty: not
  unpaired_loss loss_type = unpaired_loss::kto;
  double beta = 0.1;
  double desirable_weight = 1, undesirable_weight = 1;
  std::filesystem::path ref_model;     ///< --ref_model_name_or_path; empty: where the run starts
  bool sync_ref_model = false;         ///< TR-DPO: the reference moves toward the policy
  double ref_model_mixup_alpha = 0.6;
  std::size_t ref_model_sync_steps = 512;
};

void declare(settings_list& list, kto_settings& settings);

/// Trains and writes the model, metrics.jsonl and checkpoints to output_dir.
/// math    the mean of kedge::unpaired_kto over the completions of a step. k of a batch is the mean of log π(y′|x)/ρ(y′|x) over its prompts, not
///         below 0: y′ is the completion before x's own in its batch, and a batch is per_device_train_batch_size examples of each process, in the file's order
/// cost    a forward pass more over every batch, without gradients, for k
/// throws  error in one line
one_round_result train_kto(kto_settings const& settings);

}  // namespace kedge::llm
