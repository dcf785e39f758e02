// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

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

/// How many tokens are computed at once: a number that was given, or what the device has room for, which `settle` says once.
class tokens_at_once {
 public:
  /// Of a processor, whose products gain nothing by more, and of every device before it is settled.
  static constexpr std::size_t least = 512;

  constexpr tokens_at_once() = default;
  constexpr tokens_at_once(std::size_t given) : number_(given), automatic_(false) {}

  /// Gives the number to one that is automatic; one that was given stays.
  constexpr void settle(std::size_t room) {
    if (automatic_) number_ = room;
  }
  [[nodiscard]] constexpr bool automatic() const { return automatic_; }
  constexpr operator std::size_t() const { return number_; }

 private:
  std::size_t number_ = least;
  bool automatic_ = true;
};
template <>
struct setting_type<tokens_at_once> {
  [[nodiscard]] static std::optional<tokens_at_once> read(std::string_view text, number_range const& range);
  /// "auto" where it is, settled or not
  [[nodiscard]] static nlohmann::ordered_json write(tokens_at_once value);
  [[nodiscard]] static bool valid(tokens_at_once value, number_range const& range) { return setting_type<std::size_t>::valid(value, range); }
  [[nodiscard]] static std::string form(number_range const& range) { return "auto, or " + setting_type<std::size_t>::form(range); }
};

/// Where and how the model computes.
struct device_settings {
  compute_type dtype = compute_type::automatic;
  weights_type weights_dtype = weights_type::automatic;  ///< automatic: fp32 masters where they are as fast
  std::string device = "cpu";                            ///< cpu | cuda | cuda:N
  int threads = 0;                                       ///< 0: all cores
  tokens_at_once micro_batch_tokens{};                   ///< a setting of memory and speed, which changes results by rounding alone
  when gradient_checkpointing = when::automatic;         ///< compute layers again on the way back instead of keeping them
  when cuda_graphs =
      when::automatic;  ///< batches padded to few sizes, whose passes are recorded and replayed; automatic: on a GPU
  when tf32 = when::automatic;                           ///< products of float32 on a GPU with 10 bits of mantissa; automatic: on
  bool fp8 = false;                                      ///< products of layers' linear maps in 8 bits, on a GPU with bfloat16
};

void declare(settings_list& list, device_settings& settings);
void declare_training(settings_list& list, device_settings& settings);  ///< and what only training has

}  // namespace kedge::llm
