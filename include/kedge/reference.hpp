// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include <kedge/parts.hpp>

namespace kedge {

/// Log-probabilities of the chosen and rejected completions of n pairs, in nats per sequence.
struct pair_log_probs {
  std::vector<double> chosen;
  std::vector<double> rejected;

  [[nodiscard]] std::size_t size() const { return chosen.size(); }
  bool operator==(pair_log_probs const&) const = default;
};

/// Both halves at once, as one tensor of 2n numbers.
template <>
struct tensor_traits<pair_log_probs> {
  static pair_log_probs deep_copy(pair_log_probs const& x) { return x; }
  static void axpby(double a, pair_log_probs const& x, double b, pair_log_probs& y) {
    kedge::axpby(a, x.chosen, b, y.chosen);
    kedge::axpby(a, x.rejected, b, y.rejected);
  }
  static double dot(pair_log_probs const& x, pair_log_probs const& y) {
    return kedge::dot(x.chosen, y.chosen) + kedge::dot(x.rejected, y.rejected);
  }
};

/// Cached log-probabilities of an anchor, stamped with the anchor's epoch.
/// L is any tensor: pair_log_probs for data, a vector of log-policies for tabular problems.
template <tensor L>
class reference {
 public:
  reference() = default;  ///< to be restored into
  reference(L logp, std::size_t epoch) : logp_(std::move(logp)), epoch_(epoch) {}

  /// The log-probabilities, for use while the anchor is at `epoch`.
  /// throws  std::logic_error if the anchor has moved since they were computed
  [[nodiscard]] L const& at(std::size_t epoch) const {
    if (epoch != epoch_)
      detail::fail<std::logic_error>("reference: log-probabilities of anchor " + detail::text(epoch_) +
                                     " used after the anchor moved to " + detail::text(epoch) + "; score the data again");
    return logp_;
  }

  [[nodiscard]] std::size_t epoch() const { return epoch_; }

 private:
  L logp_{};
  std::size_t epoch_ = 0;

 public:
  static constexpr auto parts = std::tuple{part{"logp", &reference::logp_}, part{"epoch", &reference::epoch_}};
};

}  // namespace kedge
