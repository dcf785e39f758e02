// SPDX-License-Identifier: Apache-2.0
#include "profile.hpp"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

thread_local step_profile* current = nullptr;

constexpr std::array<char const*, static_cast<std::size_t>(phase::count)> names{
    "outside", "matrix products", "attention", "norms and activations", "head", "optimizer", "data", "other"};

constexpr std::int64_t peak_size = 2048;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// A device that computes on its own has to be waited for, or a phase would pay for what another one asked for.
void finish(at::Device device) {
  if (!device.is_cpu()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.has_index() ? device.index() : c10::DeviceIndex{0});
}

bool owns_what_is_in_it(phase p) { return p == phase::head || p == phase::attention; }

}  // namespace

step_profile::step_profile(compute_settings const& compute) : compute_(compute), since_(now()) {
  measure_peak();
  current = this;
}

step_profile::~step_profile() { current = nullptr; }

step_profile* step_profile::running() { return current; }

void step_profile::charge() {
  finish(compute_.device);
  double const here = now();
  seconds_[index(now_)] += here - since_;
  since_ = here;
}

phase step_profile::enter(phase next) {
  phase const previous = now_;
  if (owns_what_is_in_it(now_) || (now_ == phase::outside && next != phase::other)) return previous;
  charge();
  now_ = next;
  return previous;
}

void step_profile::go_back(phase previous) {
  if (previous == now_) return;
  charge();
  now_ = previous;
}

void step_profile::measure_peak() {
  at::NoGradGuard const no_grad;
  at::Tensor const a = at::ones({peak_size, peak_size}, at::TensorOptions(compute_.device).dtype(compute_.type));
  at::Tensor product = at::mm(a, a);
  for (int i = 0; i < 3; ++i) {
    finish(compute_.device);
    double const begin = now();
    at::mm_out(product, a, a);
    finish(compute_.device);
    peak_ = std::max(peak_, 2.0 * peak_size * peak_size * peak_size / (now() - begin));
  }
}

json step_profile::report() {
  charge();
  measure_peak();  // again: at one end of the run another program may have been in the way
  since_ = now();
  json phases = json::object();
  double seconds = 0, operations = 0;
  for (std::size_t i = 1; i < names.size(); ++i) {
    seconds += seconds_[i];
    operations += operations_[i];
    json& row = phases[names[i]] = {{"seconds", seconds_[i]}};
    if (operations_[i] > 0) row["gigaflops"] = operations_[i] / seconds_[i] / 1e9;
  }
  double const rate = seconds > 0 ? operations / seconds : 0;
  return {{"seconds", seconds},          {"operations", operations},
          {"gigaflops", rate / 1e9},     {"peak_gigaflops", peak_ / 1e9},
          {"share_of_peak", rate / peak_}, {"dtype", std::string(at::toString(compute_.type))},
          {"phases", phases}};
}

std::string step_profile::text(json const& report) {
  std::array<char, 160> line{};
  auto const number = [&](char const* key) { return report.at(key).get<double>(); };
  std::snprintf(line.data(), line.size(), "profile of steps and reference passes: %.2f s\n", number("seconds"));
  std::string all = line.data();
  for (auto const& [name, row] : report.at("phases").items()) {
    double const seconds = row.at("seconds").get<double>();
    std::snprintf(line.data(), line.size(), "  %-22s %9.2f s  %5.1f %%", name.c_str(), seconds, 100 * seconds / std::max(number("seconds"), 1e-12));
    all += line.data();
    if (row.contains("gigaflops")) {
      std::snprintf(line.data(), line.size(), "  %8.1f GFLOP/s", row.at("gigaflops").get<double>());
      all += line.data();
    }
    all += '\n';
  }
  std::snprintf(line.data(), line.size(), "  achieved %.1f GFLOP/s, %.1f %% of the %.1f of a product of %lld x %lld matrices in %s", number("gigaflops"),
                100 * number("share_of_peak"), number("peak_gigaflops"), static_cast<long long>(peak_size), static_cast<long long>(peak_size),
                report.at("dtype").get<std::string>().c_str());
  return all + line.data();
}

}  // namespace kedge::llm
