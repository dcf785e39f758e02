// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include <kedge/llm/model/causal_lm.hpp>

namespace kedge::llm {

/// What a part of a training step does. `outside`: no step at all, such as loading and evaluation.
enum class phase : std::size_t { outside, products, attention, activations, head, optimizer, data, other, count };

/// Where the time of steps and reference passes goes, and the rate of the products in them. Measures the thread that made it, from
/// then to its end; there is at most one. A phase's time is what is spent in it and in no phase within it, but head and
/// attention own all that happens in them.
class step_profile {
 public:
  explicit step_profile(compute_settings const& compute);
  step_profile(step_profile const&) = delete;
  step_profile& operator=(step_profile const&) = delete;
  ~step_profile();

  /// The profile of this thread; null where nobody measures.
  [[nodiscard]] static step_profile* running();

  /// Time counts for `next` from now on, where it may. returns  what it counted for before
  phase enter(phase next);
  void go_back(phase previous);
  /// Floating-point operations of the running phase.
  void count(double operations) { operations_[index(now_)] += operations; }

  /// Seconds and rates of every phase, and the share of the peak: the rate of LibTorch's product of 2048³ in the same run, or of a smaller one
  /// where that would take more than a quarter of a second.
  /// cost    less than two seconds
  [[nodiscard]] nlohmann::ordered_json report();
  /// The report as lines for people.
  [[nodiscard]] static std::string text(nlohmann::ordered_json const& report);

 private:
  static std::size_t index(phase p) { return static_cast<std::size_t>(p); }
  void measure_peak();
  void charge();

  compute_settings compute_;
  phase now_ = phase::outside;
  double since_;
  std::array<double, static_cast<std::size_t>(phase::count)> seconds_{}, operations_{};
  double peak_ = 0;             // operations a second
  std::int64_t peak_size_ = 0;  // of the product that it is measured on
};

/// Its lifetime is time spent in a phase, if somebody measures.
class timed {
 public:
  explicit timed(phase p) : profile_(step_profile::running()) {
    if (profile_) previous_ = profile_->enter(p);
  }
  timed(timed const&) = delete;
  timed& operator=(timed const&) = delete;
  ~timed() {
    if (profile_) profile_->go_back(previous_);
  }

  void count(double operations) const {
    if (profile_) profile_->count(operations);
  }

 private:
  step_profile* profile_;
  phase previous_{};
};

}  // namespace kedge::llm
