// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/device_report.hpp>

#include <algorithm>
#include <cstdio>

#include <kedge/llm/base/error.hpp>

#include "../model/gpu_library.hpp"
#include "opened_device.hpp"

namespace kedge::llm {
namespace {

std::string text_of(gpu const& one) {
  char text[400];
  std::snprintf(text, sizeof text, "%s, %.1f GiB, compute capability %d.%d", one.name.c_str(), static_cast<double>(one.memory) / (1 << 30), one.major,
                one.minor);
  return text;
}

void describe(gpu_driver const& driver, nlohmann::ordered_json& facts) {
  facts["driver"] = "for CUDA up to " + cuda_version_text(driver.cuda) + (driver.release.empty() ? "" : ", release " + driver.release);
  for (std::size_t i = 0; i < driver.gpus.size(); ++i) facts["cuda:" + std::to_string(i)] = text_of(driver.gpus[i]);
}

}  // namespace

device_report report_on_device(std::string const& name) {
  device_report report;
  at::Device const device = named_device(name);
  if (!device.is_cuda()) return report;
  auto const attempt = [&](auto const& step) {
    try {
      step();
      return true;
    } catch (error const& e) {
      report.problems.push_back(std::string(e.what()));
      return false;
    }
  };
  gpu_places const places = usual_gpu_places();
  bool const driven = attempt([&] { describe(ask_gpu_driver(places.driver), report.facts); });
  report.facts["libraries"] = gpu_library_line(places);
  bool const loaded = attempt([&] { static_cast<void>(load_gpu_library(places)); });
  if (driven && loaded) attempt([&] { open_gpu(device.index()); });
  return report;
}

std::string gpu_library_line() { return gpu_library_line(usual_gpu_places()); }

}  // namespace kedge::llm
