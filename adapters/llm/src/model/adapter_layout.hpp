// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <kedge/llm/model/config.hpp>
#include <kedge/llm/model/lora_settings.hpp>

#include "slots.hpp"

namespace kedge::llm {

/// What an adapter has on a weight of its base, or on the stacked weights of a layer's experts: where that lies in the adapter's pack.
struct adapted_place {
  static constexpr std::size_t none = static_cast<std::size_t>(-1);
  std::size_t a = none;          ///< B is next
  std::size_t bias = none;       ///< of B
  std::size_t magnitude = none;  ///< DoRA's
  std::size_t whole = none;      ///< what is trained in the weight's place
  double scale = 1;              ///< what B A is multiplied by, whatever the rank has become
};

/// Which parameters of a model have an adapter, and where it lies in a pack: first all products, A before B, of the layers' maps layer by layer, of the
/// embedding and of the head; then biases of B and magnitudes; then what is trained whole. A scalar head is trained whole, and comes last.
class adapter_layout {
 public:
  /// throws  error if a name is none of the model's modules, an expression is none, a rank isn't a positive integer, or settings exclude each other
  adapter_layout(transformer_config const& config, lora_settings settings);

  /// PEFT's names; A: [r, in], B: [out, r], magnitudes: [1, out], which optimizers then take for a matrix, as transformers does
  [[nodiscard]] std::vector<parameter> const& parameters() const { return parameters_; }
  /// Pairs A, B that the pack begins with.
  [[nodiscard]] std::size_t products() const { return modules_.size(); }
  /// The module of each of them.
  [[nodiscard]] std::vector<std::string> const& modules() const { return modules_; }
  /// i: in the order of parameters_of(config()), or their number: of what isn't there
  [[nodiscard]] adapted_place const& of(std::size_t i) const { return places_[i]; }
  /// Of stacked experts: down, or gate and up.
  [[nodiscard]] adapted_place const& of_experts(std::int64_t layer, bool down) const { return experts_[static_cast<std::size_t>(layer)][down ? 1 : 0]; }
  /// That of the base, but with a head of its own where the adapter tells it apart from the embedding.
  [[nodiscard]] transformer_config const& config() const { return config_; }
  [[nodiscard]] lora_settings const& settings() const { return settings_; }

 private:
  void resolve_targets();
  void refuse_what_excludes() const;
  void add_products(std::vector<parameter> const& base);
  void add_product(adapted_place& place, std::string const& module, std::string const& name, std::int64_t in, std::int64_t out, std::int64_t copies);
  void add_embedding(parameter const& embedding);
  void add_vectors(std::vector<parameter> const& base);
  void add_whole(std::vector<parameter> const& base);
  /// layer: −1 for what is in none
  [[nodiscard]] bool targets(std::string const& module, std::int64_t layer) const;
  [[nodiscard]] bool saves(std::string const& module) const;
  [[nodiscard]] std::int64_t rank_of(std::string const& module) const;
  [[nodiscard]] double scale_of(std::string const& module) const;

  transformer_config config_;
  lora_settings settings_;
  std::vector<parameter> parameters_;
  std::vector<std::string> modules_;
  std::vector<adapted_place> places_;
  std::vector<std::array<adapted_place, 2>> experts_;
};

}  // namespace kedge::llm
