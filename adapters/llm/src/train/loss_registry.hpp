// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <concepts>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/train/loss_choice.hpp>

// What turns a loss type of the core into a row of --loss_type: its parameters, what it reads and whether it takes divergences come
// from the type.

namespace kedge::llm {

/// One loss of the table.
struct registered_loss {
  loss_name name;
  std::vector<loss_parameter> parameters;  ///< of this loss, beta aside
  bool needs_reference = false, takes_divergence = false;
  bool is_cross_entropy = false;  ///< it counts every token of a completion whole
  std::optional<double> margin_degree{};  ///< kedge::margin_degree
  std::function<loss_choice(loss_settings const&)> make;
};

/// The table, TRL's names first.
[[nodiscard]] std::vector<registered_loss> const& registered_losses();

inline constexpr bool in_trl = true, not_in_trl = false;

namespace registry {

/// Whether a loss is one of the margin of log-ratios, summed or averaged over tokens: then the normaliser of a divergence cancels as
/// that of reverse KL does.
template <class Loss>
inline constexpr bool takes_divergence = [] {
  if constexpr (pair_loss<Loss>)
    return log_ratios_only<Loss> && (Loss::shift_invariant || (Loss::paired && reads_tokens<Loss>));
  else
    return false;
}();

/// Gives a loss the numbers that settings hold for it.
template <class Loss>
void tell(Loss& loss, loss_settings const& settings) {
  kedge::detail::for_each_parameter(loss, [&](auto const& p, double& value) {
    if (p.name == kedge::detail::beta_name)
      value = settings.beta;
    else if (auto const told = settings.parameters.find(std::string_view(p.name)); told != settings.parameters.end())
      value = told->second;
  });
}

/// The parameters of a loss with their defaults, beta aside.
template <class Loss>
std::vector<loss_parameter> listed(Loss const& loss, std::vector<std::string> const& readers) {
  std::vector<loss_parameter> found;
  kedge::detail::for_each_parameter(loss, [&](auto const& p, double value) {
    if (p.name != kedge::detail::beta_name)
      found.push_back({p.name, p.help, kedge::detail::text(value), p.least, p.most, p.open_least, p.open_most, readers});
  });
  return found;
}

template <preference_loss_type Loss>
loss_choice choice(std::string const& name, double beta, Loss loss) {
  try {
    kedge::detail::check_loss(loss);
  } catch (std::invalid_argument const& refused) {
    throw error("loss_type " + name + ": " + refused.what());
  }
  loss_choice made{
      name, Loss::shift_invariant, Loss::needs_reference, reads_tokens<Loss>, reads_scores<Loss>, batch_loss<Loss>, beta, {}, false};
  made.evaluate = [loss = std::move(loss)](pair_batch const& batch, std::size_t total) {
    return preference_loss(loss, batch, total);
  };
  return made;
}

/// A loss under the divergence that the settings name.
template <preference_loss_type Loss>
loss_choice with_settings(std::string const& name, loss_settings const& settings, Loss const& loss) {
  if constexpr (takes_divergence<Loss>) {
    if (settings.f_divergence_type == f_divergence::forward_kl)
      return choice(name, settings.beta, with_divergence{forward_kl{}, loss});
    if (settings.f_divergence_type == f_divergence::js_divergence)
      return choice(name, settings.beta, with_divergence{jensen_shannon{}, loss});
    if (settings.f_divergence_type == f_divergence::alpha_divergence) {
      alpha_divergence score;
      tell(score, settings);
      if (!(std::abs(score.alpha - 1) < 1e-6)) return choice(name, settings.beta, with_divergence{score, loss});
    }
  }
  return choice(name, settings.beta, loss);
}

/// Without its SFT term where that has weight 0: then the loss is what it is alone, shift-invariant perhaps.
template <class Loss>
loss_choice with_settings(std::string const& name, loss_settings const& settings, with_sft<Loss> const& loss) {
  return loss.weight == 0 ? choice(name, settings.beta, loss.loss) : choice(name, settings.beta, loss);
}

}  // namespace registry

/// The registration of a loss: its name in --loss_type, whose it is, and its type, or a value of it.
template <preference_loss_type Loss>
registered_loss loss(std::string const& name, std::string description, bool known_to_trl, Loss const& prototype = {}) {
  return {{name, std::move(description), known_to_trl},
          registry::listed(prototype, {name}),
          Loss::needs_reference,
          registry::takes_divergence<Loss>,
          std::same_as<Loss, sft>,
          kedge::margin_degree<Loss>,
          [name, prototype](loss_settings const& settings) {
            Loss told = prototype;
            registry::tell(told, settings);
            return registry::with_settings(name, settings, told);
          }};
}

}  // namespace kedge::llm
