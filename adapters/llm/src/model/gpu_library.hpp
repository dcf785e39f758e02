// SPDX-License-Identifier: Apache-2.0
#pragma once

// A program links no library of CUDA. What a GPU needs is loaded once one is asked for: LibTorch's CUDA part, which registers its operators, and
// libkedge-cuda.so, which has kedge's (docs/decisions/0014-one-program.md).

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "../cuda/plugin.hpp"
#include "gpu_driver.hpp"

namespace kedge::llm {

/// Where the parts are looked for.
struct gpu_places {
  std::filesystem::path libtorch;              ///< folder of LibTorch's libraries
  std::vector<std::filesystem::path> plugins;  ///< of libkedge-cuda.so; the first that is there is taken
  std::string driver;
};

/// The folder of the LibTorch that this program runs with, and the places beside the program.
[[nodiscard]] gpu_places usual_gpu_places();

/// The CUDA that the LibTorch of this folder is built for, as 1000 · major + 10 · minor; 0 where its files don't tell.
/// throws  error if it has no CUDA part
[[nodiscard]] int libtorch_cuda(gpu_places const& places);

/// A libkedge-cuda.so that is there.
struct found_plugin {
  std::filesystem::path file;
  std::string build, cuda;  ///< as plugin_build.hpp has it; "13.2". Both empty where the file doesn't tell
};
[[nodiscard]] std::optional<found_plugin> find_plugin(gpu_places const& places);

/// Loads both libraries. No GPU is touched.
/// throws  error saying which part is missing or doesn't fit
[[nodiscard]] gpu_plugin const& load_gpu_library(gpu_places const& places);

/// The same, once, from the usual places; and its kernels are used from then on.
[[nodiscard]] gpu_plugin const& gpu_library();

/// throws  error if a driver sees no GPU of this number, or kedge's kernels aren't compiled for its kind
void check_gpu(gpu_driver const& driver, int index);

/// Makes sure that work on this GPU can begin: there is a driver that knows LibTorch's CUDA, such a GPU, and what it needs is loaded.
/// index: of the GPU; −1: any
/// throws  error saying what is missing and what to do
void open_gpu(int index);

/// The first half of it: asks the driver, and checks that it knows this LibTorch's CUDA.
[[nodiscard]] gpu_driver fitting_driver(gpu_places const& places);

/// One line: which CUDA this LibTorch is for, and whether the library for it is there. Loads nothing.
[[nodiscard]] std::string gpu_library_line(gpu_places const& places);

}  // namespace kedge::llm
