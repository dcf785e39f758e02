// SPDX-License-Identifier: Apache-2.0
#include "gpu_library.hpp"

#include <ATen/Context.h>
#include <dlfcn.h>

#include <fstream>
#include <regex>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/mapped_file.hpp>

#include "../base/library_places.hpp"
#include "../cuda/plugin_build.hpp"

namespace kedge::llm {
namespace {

constexpr char const* plugin_name = "libkedge-cuda.so";
constexpr int oldest_capability = KEDGE_OLDEST_GPU / 10;  // the first of adapters/llm/cuda_kernels.cmake
constexpr char const* how_to_build =
    "`./dev build --cuda` fetches or finds what is needed; LIBTORCH_ROOT=…/site-packages/torch names the torch that pip installed";

std::string line_of(std::filesystem::path const& file, std::regex const& wanted) {
  std::ifstream in(file);
  std::smatch found;
  for (std::string line; std::getline(in, line);)
    if (std::regex_search(line, found, wanted)) return found[1];
  return "";
}

// What stands between two texts, the first time.
std::string between(std::string_view text, std::string_view begin, std::string_view end) {
  std::size_t const at = text.find(begin);
  if (at == text.npos) return "";
  text.remove_prefix(at + begin.size());
  return std::string(text.substr(0, std::min(text.find(end), std::size_t{200})));
}

std::string reason() {
  char const* const text = ::dlerror();
  return text != nullptr ? text : "no reason given";
}

void load_libtorch_cuda(gpu_places const& places) {
  // Its operators register themselves for all: hence not RTLD_LOCAL.
  if (::dlopen((places.libtorch / "libtorch_cuda.so").c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr)
    throw error("libraries of CUDA that LibTorch needs are missing (" + reason() + "); " + how_to_build);
}

found_plugin fitting_plugin(gpu_places const& places, int cuda) {
  std::optional<found_plugin> found = find_plugin(places);
  if (!found) throw error(std::string(plugin_name) + ", which has kedge's part for GPUs, is not beside the program; " + how_to_build);
  bool const other_cuda = cuda != 0 && cuda_version_number(found->cuda) / 1000 != cuda / 1000;
  if (found->build != KEDGE_GPU_BUILD || other_cuda)
    throw error(found->file.string() + " is of another build (" + (found->build.empty() ? "unknown" : found->build + ", CUDA " + found->cuda) +
                ") than this program (" KEDGE_GPU_BUILD + (other_cuda ? ", CUDA " + cuda_version_text(cuda) : "") + "); build both anew: ./dev build --cuda");
  return *found;
}

}  // namespace

gpu_places usual_gpu_places() {
  Dl_info here{};
  gpu_places places{.libtorch = {}, .plugins = library_places(plugin_name), .driver = "libcuda.so.1"};
  if (::dladdr(reinterpret_cast<void const*>(&at::globalContext), &here) != 0 && here.dli_fname != nullptr)
    places.libtorch = std::filesystem::weakly_canonical(here.dli_fname).parent_path();
  return places;
}

int libtorch_cuda(gpu_places const& places) {
  if (!std::filesystem::exists(places.libtorch / "libtorch_cuda.so"))
    throw error("the LibTorch that this program runs with has no CUDA part (no libtorch_cuda.so in " + places.libtorch.string() + "); " + how_to_build);
  std::filesystem::path const root = places.libtorch.parent_path();
  std::string version = line_of(root / "version.py", std::regex(R"(^cuda\b.*=\s*'([\d.]+)')"));
  if (version.empty()) version = std::regex_replace(line_of(root / "build-version", std::regex(R"(\+cu(\d+))")), std::regex(R"((\d)$)"), ".$1");
  return cuda_version_number(version);
}

std::optional<found_plugin> find_plugin(gpu_places const& places) {
  std::error_code ignored;
  for (std::filesystem::path const& file : places.plugins) {
    if (!std::filesystem::is_regular_file(file, ignored)) continue;
    mapped_file const bytes(file);
    std::string const build = between(bytes.text(), KEDGE_GPU_BUILD_BEGIN, KEDGE_GPU_BUILD_END);
    return found_plugin{file, build, between(bytes.text(), build + KEDGE_GPU_BUILD_END "CUDA ", KEDGE_GPU_BUILD_END)};
  }
  return std::nullopt;
}

gpu_plugin const& load_gpu_library(gpu_places const& places) {
  found_plugin const plugin = fitting_plugin(places, libtorch_cuda(places));
  load_libtorch_cuda(places);
  void* const library = ::dlopen(plugin.file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw error(plugin.file.string() + " cannot be loaded (" + reason() + "); build it anew: ./dev build --cuda");
  auto const entry = reinterpret_cast<gpu_plugin const* (*)()>(::dlsym(library, "kedge_cuda"));
  if (entry == nullptr) throw error(plugin.file.string() + " has no kedge_cuda; build it anew: ./dev build --cuda");
  return *entry();
}

gpu_plugin const& gpu_library() {
  static gpu_plugin const& loaded = [&]() -> gpu_plugin const& {
    gpu_plugin const& plugin = load_gpu_library(usual_gpu_places());
    use_gpu_kernels(plugin.kernels);
    return plugin;
  }();
  return loaded;
}

gpu_driver fitting_driver(gpu_places const& places) {
  gpu_driver driver = ask_gpu_driver(places.driver);
  // A newer minor version of CUDA runs on every driver of its major one.
  if (int const needed = libtorch_cuda(places); driver.cuda / 1000 < needed / 1000)
    throw error("the NVIDIA driver here is too old: it knows CUDA up to " + cuda_version_text(driver.cuda) + ", and this LibTorch is built for CUDA " +
                cuda_version_text(needed) + "; update the driver, or build with a LibTorch for an older CUDA (LIBTORCH_ROOT)");
  return driver;
}

void check_gpu(gpu_driver const& driver, int index) {
  std::size_t const count = driver.gpus.size(), own = index < 0 ? 0 : static_cast<std::size_t>(index);
  if (own >= count)
    throw error("there is no GPU of this number: the driver sees " + std::to_string(count) + ", of which the last is cuda:" + std::to_string(count - 1));
  gpu const& one = driver.gpus[own];
  if (one.major < oldest_capability)
    throw error(one.name + " is of compute capability " + std::to_string(one.major) + "." + std::to_string(one.minor) + ", and kedge's kernels need " +
                std::to_string(oldest_capability) + ".0 (A100, RTX 30) or later; use another GPU, or --device cpu");
}

void open_gpu(int index) {
  gpu_driver const driver = fitting_driver(usual_gpu_places());
  check_gpu(driver, index);
  static_cast<void>(gpu_library());
  if (!at::hasCUDA())
    throw error("the driver sees " + std::to_string(driver.gpus.size()) + " GPUs, but LibTorch can use none; see what nvidia-smi says of them");
}

std::string gpu_library_line(gpu_places const& places) try {
  int const cuda = libtorch_cuda(places);
  std::string const of_torch = cuda != 0 ? "this LibTorch is for CUDA " + cuda_version_text(cuda) : "this LibTorch has a CUDA part";
  std::optional<found_plugin> const plugin = find_plugin(places);
  if (!plugin) return of_torch + ", no " + plugin_name + " beside the program (./dev build --cuda)";
  bool const fits = plugin->build == KEDGE_GPU_BUILD;
  return of_torch + ", " + plugin->file.string() + (fits ? "" : " is of another build (" + plugin->build + ")");
} catch (error const& e) {
  return e.what();
}

}  // namespace kedge::llm
