// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>  // string
#include <vector>  // vector

#include <nlohmann/json.hpp>

namespace kedge::llm {

/// What there is for a device.
struct device_report {
  nlohmann::ordered_json facts = nlohmann::ordered_json::object();  ///< of a GPU: "driver", "cuda:0" …, "libraries", each a text
  std::vector<std::string> problems;                                ///< why it can't be used, a line each
};

/// Looks at everything that work on a device needs: its driver, its GPUs, and the libraries, which are loaded.
/// name: as --device has it
[[nodiscard]] device_report report_on_device(std::string const& name);

/// One line for `kedge --version`: which CUDA this LibTorch is for, and whether kedge's library for GPUs is there. Loads nothing.
[[nodiscard]] std::string gpu_library_line();

}  // namespace kedge::llm
