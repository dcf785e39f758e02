// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <kedge/llm/model/config.hpp>

#include "slots.hpp"

namespace kedge::llm {

/// Which maps of a model have an adapter, and where its factors lie in a pack: layer by layer, A before B. A scalar head is trained
/// whole, and comes last.
class adapter_layout {
 public:
  /// throws  error if a target is no linear map of the model's layers, or the rank is not positive
  adapter_layout(transformer_config const& config, lora_settings settings);

  /// PEFT's names; A: [r, in], B: [out, r]
  [[nodiscard]] std::vector<parameter> parameters() const;
  /// Where A of a map lies; B is next. Nothing where the map has no adapter.
  [[nodiscard]] std::optional<std::size_t> of(std::int64_t layer, layer_slot slot) const;
  /// What B A is multiplied by, whatever the rank has become.
  [[nodiscard]] double scale() const;
  [[nodiscard]] lora_settings const& settings() const { return settings_; }
  [[nodiscard]] std::vector<layer_slot> const& targets() const { return targets_; }

 private:
  transformer_config config_;
  lora_settings settings_;
  std::vector<layer_slot> targets_;
};

}  // namespace kedge::llm
