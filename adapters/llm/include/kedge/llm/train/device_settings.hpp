// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <string>

#include <kedge/llm/base/names.hpp>
#include <kedge/llm/base/settings_list.hpp>

namespace kedge::llm {

/// The type that a model computes in.
enum class compute_type { automatic, float32, bfloat16, float64 };
constexpr auto names(compute_type) {
  return std::array{named{compute_type::automatic, "auto"}, named{compute_type::float32, "float32"},
                    named{compute_type::bfloat16, "bfloat16"}, named{compute_type::float64, "float64"}};
}

/// What a training run in bfloat16 multiplies by.
enum class weights_type { automatic, bfloat16 };
constexpr auto names(weights_type) {
  return std::array{named{weights_type::automatic, "auto"}, named{weights_type::bfloat16, "bfloat16"}};
}

/// Something that is done where it pays, always, or never.
enum class when { automatic, on, off };
constexpr auto names(when) {
  return std::array{named{when::automatic, "auto"}, named{when::on, "on"}, named{when::off, "off"}, named{when::on, "true"},
                    named{when::off, "false"}};
}

/// Where and how the model computes.
struct device_settings {
  compute_type dtype = compute_type::automatic;
  weights_type weights_dtype = weights_type::automatic;  ///< automatic: fp32 masters where they are as fast
  std::string device = "cpu";                            ///< cpu | cuda | cuda:N
  int threads = 0;                                       ///< 0: all cores
  std::size_t micro_batch_tokens = 512;                  ///< tokens computed at once; a memory setting that changes no result
  when gradient_checkpointing = when::automatic;         ///< compute layers again on the way back instead of keeping them
  when cuda_graphs =
      when::automatic;  ///< batches padded to few sizes, whose passes are recorded and replayed; automatic: on a GPU
};

void declare(settings_list& list, device_settings& settings);
void declare_training(settings_list& list, device_settings& settings);  ///< and what only training has

}  // namespace kedge::llm
