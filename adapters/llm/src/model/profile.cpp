// SPDX-License-Identifier: Apache-2.0
#include "profile.hpp"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "host_ops.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

thread_local step_profile* current = nullptr;

constexpr std::array<char const*, static_cast<std::size_t>(phase::count)> phase_names{
    "outside", "matrix products", "attention", "norms and activations", "head", "optimizer", "data", "other"};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// A device that computes on its own has to be waited for, or a phase would pay for what another one asked for.
void finish(at::Device device) {
  if (!device.is_cpu()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.has_index() ? device.index() : c10::DeviceIndex{0});
}

// The type that products of such a computation are made in: without matrix units the kernels widen bf16 and multiply in fp32.
at::ScalarType type_of_products(compute_settings const& compute) {
  bool const widened = compute.device.is_cpu() && compute.type == at::kBFloat16 && !host_ops::rounds_operands();
  return widened ? at::kFloat : compute.type;
}

double cube(std::int64_t n) { return static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n); }

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

// Of the largest product that takes at most a quarter of a second, by the rate of the one before.
void step_profile::measure_peak() {
  at::NoGradGuard const no_grad;
  constexpr double seconds_at_most = 0.25;
  double rate = 0;
  for (std::int64_t size = 256; size <= 2048 && (rate == 0 || 2 * cube(size) / rate < seconds_at_most); size *= 2) {
    at::Tensor const a = at::rand({size, size}, at::TensorOptions(compute_.device).dtype(type_of_products(compute_)));
    at::Tensor product = at::mm(a, a);
    rate = 0;
    for (int i = 0; i < 3; ++i) {
      finish(compute_.device);
      double const begin = now();
      at::mm_out(product, a, a);
      finish(compute_.device);
      rate = std::max(rate, 2 * cube(size) / (now() - begin));
    }
    if (size < peak_size_) continue;
    peak_ = size > peak_size_ ? rate : std::max(peak_, rate);
    peak_size_ = size;
  }
}

json step_profile::report() {
  charge();
  measure_peak();  // again: at one end of the run another program may have been in the way
  since_ = now();
  json phases = json::object();
  double seconds = 0, operations = 0;
  for (std::size_t i = 1; i < phase_names.size(); ++i) {
    seconds += seconds_[i];
    operations += operations_[i];
    json& row = phases[phase_names[i]] = {{"seconds", seconds_[i]}};
    if (operations_[i] > 0) row["gigaflops"] = operations_[i] / seconds_[i] / 1e9;
  }
  double const rate = seconds > 0 ? operations / seconds : 0;
  return {{"seconds", seconds},          {"operations", operations},
          {"gigaflops", rate / 1e9},     {"peak_gigaflops", peak_ / 1e9},
          {"share_of_peak", rate / peak_}, {"peak_size", peak_size_},
          {"peak_dtype", std::string(at::toString(type_of_products(compute_)))},
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
  auto const size = report.at("peak_size").get<std::int64_t>();
  std::snprintf(line.data(), line.size(), "  achieved %.1f GFLOP/s, %.1f %% of the %.1f of a product of %lld x %lld matrices in %s", number("gigaflops"),
                100 * number("share_of_peak"), number("peak_gigaflops"), static_cast<long long>(size), static_cast<long long>(size),
                report.at("peak_dtype").get<std::string>().c_str());
  return all + line.data();
}

}  // namespace kedge::llm
