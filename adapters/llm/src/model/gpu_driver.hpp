// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>  // int64_t
#include <string>   // string
#include <vector>   // vector

namespace kedge::llm {

/// A GPU as the driver describes it.
struct gpu {
  std::string name;
  std::int64_t memory = 0;  ///< bytes, in all
  int major = 0, minor = 0;  ///< compute capability
};

/// NVIDIA's driver and its GPUs, in the order of cuda:0, cuda:1, …
struct gpu_driver {
  int cuda = 0;         ///< the newest CUDA that it knows: 1000 · major + 10 · minor
  std::string release;  ///< of the driver itself; empty where the system doesn't tell
  std::vector<gpu> gpus;
};

/// Asks the driver, which is loaded and not linked, so that a program starts where there is none. No memory of a GPU is touched.
/// library: the driver's
/// throws  error if there is no driver, it doesn't work, or it sees no GPU
[[nodiscard]] gpu_driver ask_gpu_driver(std::string const& library = "libcuda.so.1");

/// "13.2" of 13020
[[nodiscard]] std::string cuda_version_text(int cuda);

/// 13020 of "13.2"; 0 where the text is no version
[[nodiscard]] int cuda_version_number(std::string const& text);

}  // namespace kedge::llm
