// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <kedge/llm/model/memory_plan.hpp>

namespace kedge::llm {

struct optimizer;

/// An optimizer by its name, as `--optim` has it: what settings keep, parsed once.
class optimizer_choice {
 public:
  /// AdamW with fp32 moments.
  optimizer_choice();
  /// One of the library's, by its name or an alias of it.
  /// throws  error for an unknown name, which lists the known ones
  template <std::convertible_to<std::string_view> Name>
  optimizer_choice(Name const& name) : optimizer_choice(find(name)) {}
  /// Any other, which must outlive the choice.
  optimizer_choice(optimizer const& chosen) : chosen_(&chosen) {}

  [[nodiscard]] std::string_view name() const;
  /// What a plan of memory counts: nothing where the state is paged.
  [[nodiscard]] state_bytes bytes() const;
  /// How the length of steps follows the scale of gradients: optimizer::gradient_degree.
  [[nodiscard]] std::optional<double> gradient_degree() const;
  [[nodiscard]] optimizer const& operator*() const { return *chosen_; }
  [[nodiscard]] optimizer const* operator->() const { return chosen_; }
  friend bool operator==(optimizer_choice, optimizer_choice) = default;

 private:
  static optimizer const& find(std::string_view name);
  optimizer const* chosen_;
};

/// How an optimizer is called, for flags and help.
struct optimizer_name {
  std::string_view name;
  std::span<std::string_view const> aliases;
  std::string_view help;
};

/// The library's optimizers; the first one is the default.
[[nodiscard]] std::vector<optimizer_name> optimizer_names();

}  // namespace kedge::llm
