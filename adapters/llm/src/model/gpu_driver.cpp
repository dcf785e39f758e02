// SPDX-License-Identifier: Apache-2.0
#include "gpu_driver.hpp"

#include <dlfcn.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <regex>

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

// Of cuda.h, which need not be there: the driver's functions, and the codes that we tell apart.
constexpr int success = 0, no_device = 100;
constexpr int capability_major = 75, capability_minor = 76;

class driver_library {
 public:
  explicit driver_library(std::string const& name) : name_(name), handle_(::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr)
      throw error("there is no NVIDIA driver here (" + name + " cannot be loaded); install one, or give a container its GPUs; --device cpu needs none");
  }

  template <class... Arguments>
  int call(char const* function, Arguments... arguments) const {
    void* const found = ::dlsym(handle_, function);
    if (found == nullptr) throw error("the NVIDIA driver here (" + name_ + ") has no " + function + ": it is too old; update it");
    return reinterpret_cast<int (*)(Arguments...)>(found)(arguments...);
  }

 private:
  std::string name_;
  void* handle_;  // stays: the CUDA libraries use the same one
};

error no_gpu() {
  char const* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  return error("the NVIDIA driver here sees no GPU" +
               (visible != nullptr ? " (CUDA_VISIBLE_DEVICES is " + in_quotes(visible) + ")" : std::string()) +
               "; see whether nvidia-smi lists one, or use --device cpu");
}

gpu describe(driver_library const& driver, int ordinal) {
  int device = 0;
  std::array<char, 256> name{};
  std::size_t memory = 0;
  gpu out;
  driver.call("cuDeviceGet", &device, ordinal);
  driver.call("cuDeviceGetName", name.data(), static_cast<int>(name.size()) - 1, device);
  driver.call("cuDeviceTotalMem_v2", &memory, device);
  driver.call("cuDeviceGetAttribute", &out.major, capability_major, device);
  driver.call("cuDeviceGetAttribute", &out.minor, capability_minor, device);
  out.name = name.data();
  out.memory = static_cast<std::int64_t>(memory);
  return out;
}

// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  …"
std::string release_of_system() {
  std::ifstream file("/proc/driver/nvidia/version");
  std::string line;
  std::getline(file, line);
  std::smatch found;
  return std::regex_search(line, found, std::regex(R"(\s(\d+\.[\d.]+)\s)")) ? found[1].str() : "";
}

}  // namespace

gpu_driver ask_gpu_driver(std::string const& library) {
  driver_library const driver(library);
  int const begun = driver.call("cuInit", 0U);
  if (begun == no_device) throw no_gpu();
  if (begun != success)
    throw error("the NVIDIA driver here does not start (cuInit: error " + std::to_string(begun) +
                "); nvidia-smi says why: often the kernel's part is of another version than " + library + ", until the machine starts anew");
  gpu_driver out;
  int count = 0;
  driver.call("cuDriverGetVersion", &out.cuda);
  driver.call("cuDeviceGetCount", &count);
  if (count == 0) throw no_gpu();
  for (int ordinal = 0; ordinal < count; ++ordinal) out.gpus.push_back(describe(driver, ordinal));
  out.release = release_of_system();
  return out;
}

std::string cuda_version_text(int cuda) { return std::to_string(cuda / 1000) + "." + std::to_string(cuda % 1000 / 10); }

int cuda_version_number(std::string const& text) {
  std::smatch parts;
  if (!std::regex_match(text, parts, std::regex(R"((\d{1,3})\.(\d{1,2})(\.\d+)?)"))) return 0;
  return 1000 * std::stoi(parts[1]) + 10 * std::stoi(parts[2]);
}

}  // namespace kedge::llm
