// SPDX-License-Identifier: Apache-2.0
#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/train/device_report.hpp>

#include "../adapters/llm/src/model/gpu_library.hpp"
#include "../adapters/llm/src/train/opened_device.hpp"
#include "support/catch.hpp"
#include "support/program.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using kedge::testing::contains;

namespace {

/// Variables of the environment for as long as it lives.
class environment {
 public:
  environment(std::initializer_list<std::pair<std::string const, std::string>> variables) : variables_(variables) {
    for (auto const& [name, value] : variables_) ::setenv(name.c_str(), value.c_str(), 1);
  }
  ~environment() {
    for (auto const& [name, value] : variables_) ::unsetenv(name.c_str());
  }
  environment(environment const&) = delete;
  environment& operator=(environment const&) = delete;

 private:
  std::map<std::string, std::string> variables_;
};

/// A LibTorch's folder for CUDA 13.2, with a libtorch_cuda.so that loads, beside a library for GPUs that fits; and a driver.
struct fake_parts {
  kedge::testing::scratch_folder root;
  gpu_places places{root / "torch/lib", {root / "nowhere.so", root / "libkedge-cuda.so"}, KEDGE_FAKE_DRIVER};

  fake_parts() {
    std::filesystem::create_directories(places.libtorch);
    kedge::testing::write_file(root / "torch/version.py", "__version__ = '2.15.0+cu132'\ncuda: Optional[str] = '13.2'\n");
    put(KEDGE_FAKE_TORCH_CUDA, places.libtorch / "libtorch_cuda.so");
    put(KEDGE_FAKE_PLUGIN, places.plugins.back());
  }

  static void put(std::filesystem::path const& library, std::filesystem::path const& as) {
    std::filesystem::copy_file(library, as, std::filesystem::copy_options::overwrite_existing);
  }
};

template <class Call>
std::string message_of(Call const& call) {
  try {
    call();
  } catch (error const& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("GPUs are described as the driver tells them") {
  gpu_driver const driver = ask_gpu_driver(KEDGE_FAKE_DRIVER);
  CHECK(cuda_version_text(driver.cuda) == "13.2");
  REQUIRE(driver.gpus.size() == 2);
  CHECK(driver.gpus[1].name == "Fake 41");
  CHECK(driver.gpus[1].memory == std::int64_t{41} << 30);
  CHECK(driver.gpus[1].major == 9);
  CHECK(driver.gpus[1].minor == 1);
}

TEST_CASE("no driver, one that doesn't start, and no GPU are told apart") {
  CHECK_THROWS_WITH(ask_gpu_driver("libcuda-that-is-not-there.so"), contains("no NVIDIA driver") && contains("libcuda-that-is-not-there.so"));
  {
    environment const set{{"KEDGE_FAKE_INIT", "803"}};
    CHECK_THROWS_WITH(ask_gpu_driver(KEDGE_FAKE_DRIVER), contains("does not start") && contains("803"));
  }
  {
    environment const set{{"KEDGE_FAKE_INIT", "100"}};
    CHECK_THROWS_WITH(ask_gpu_driver(KEDGE_FAKE_DRIVER), contains("sees no GPU"));
  }
  environment const set{{"KEDGE_FAKE_GPUS", "0"}, {"CUDA_VISIBLE_DEVICES", "7"}};
  CHECK_THROWS_WITH(ask_gpu_driver(KEDGE_FAKE_DRIVER), contains("sees no GPU") && contains("CUDA_VISIBLE_DEVICES is '7'"));
}

TEST_CASE("a driver older than LibTorch's CUDA is refused, one of the same major version is not") {
  fake_parts const parts;
  {
    environment const set{{"KEDGE_FAKE_CUDA", "12090"}};
    CHECK_THROWS_WITH(fitting_driver(parts.places), contains("too old") && contains("12.9") && contains("13.2"));
  }
  environment const set{{"KEDGE_FAKE_CUDA", "13000"}};
  CHECK(fitting_driver(parts.places).gpus.size() == 2);
}

TEST_CASE("a GPU that isn't there, or that no kernel is compiled for, is refused") {
  gpu_driver const driver{.cuda = 13020, .release = "", .gpus = {{"New", 1, 9, 0}, {"Old", 1, 7, 5}}};
  CHECK_NOTHROW(check_gpu(driver, -1));
  CHECK_NOTHROW(check_gpu(driver, 0));
  CHECK_THROWS_WITH(check_gpu(driver, 1), contains("Old is of compute capability 7.5") && contains("8.0"));
  CHECK_THROWS_WITH(check_gpu(driver, 2), contains("sees 2") && contains("cuda:1"));
}

TEST_CASE("CUDA's version is read where LibTorch's wheels and its archives keep it") {
  fake_parts const parts;
  CHECK(libtorch_cuda(parts.places) == 13020);
  std::filesystem::remove(parts.root / "torch/version.py");
  CHECK(libtorch_cuda(parts.places) == 0);
  kedge::testing::write_file(parts.root / "torch/build-version", "2.15.0+cu129\n");
  CHECK(libtorch_cuda(parts.places) == 12090);
}

TEST_CASE("a LibTorch without a CUDA part is named") {
  fake_parts const parts;
  std::filesystem::remove(parts.places.libtorch / "libtorch_cuda.so");
  CHECK_THROWS_WITH(load_gpu_library(parts.places), contains("has no CUDA part") && contains(parts.places.libtorch.string()) && contains("./dev build --cuda"));
}

TEST_CASE("a library of CUDA that LibTorch misses is named") {
  fake_parts const parts;
  fake_parts::put(KEDGE_FAKE_TORCH_CUDA_ABSENT, parts.places.libtorch / "libtorch_cuda.so");
  CHECK_THROWS_WITH(load_gpu_library(parts.places), contains("libraries of CUDA that LibTorch needs are missing") && contains("libkedge_fake_absent.so") && contains("LIBTORCH_ROOT"));
}

TEST_CASE("a library for GPUs that is missing, of another build, or of another CUDA is told, and nothing is loaded") {
  fake_parts const parts;
  kedge::testing::write_file(parts.root / "torch/version.py", "cuda = '12.8'\n");
  CHECK_THROWS_WITH(load_gpu_library(parts.places), contains("another build") && contains("CUDA 13.2") && contains("CUDA 12.8"));
  kedge::testing::write_file(parts.places.plugins.back(), "libkedge-cuda.so of kedge 0.0.1, LibTorch 2.9.0, interface x;CUDA 12.8;");
  CHECK_THROWS_WITH(load_gpu_library(parts.places), contains("another build (kedge 0.0.1, LibTorch 2.9.0, interface x, CUDA 12.8)"));
  kedge::testing::write_file(parts.places.plugins.back(), "no library");
  CHECK_THROWS_WITH(load_gpu_library(parts.places), contains("another build (unknown)"));
  std::filesystem::remove(parts.places.plugins.back());
  CHECK_THROWS_WITH(load_gpu_library(parts.places), contains("libkedge-cuda.so") && contains("is not beside the program"));
}

TEST_CASE("what is missing for a GPU is told in lines that differ") {
  std::vector<std::string> lines;
  auto const told = [&](auto const& spoil) {
    fake_parts parts;
    spoil(parts);
    lines.push_back(message_of([&] {
      static_cast<void>(fitting_driver(parts.places));
      static_cast<void>(load_gpu_library(parts.places));
    }));
    CHECK(lines.back().find('\n') == std::string::npos);
    lines.back() = lines.back().substr(0, 24);
  };
  told([](fake_parts& parts) { parts.places.driver = "libnone.so"; });
  told([](fake_parts& parts) { std::filesystem::remove(parts.places.libtorch / "libtorch_cuda.so"); });
  told([](fake_parts& parts) { fake_parts::put(KEDGE_FAKE_TORCH_CUDA_ABSENT, parts.places.libtorch / "libtorch_cuda.so"); });
  told([](fake_parts& parts) { std::filesystem::remove(parts.places.plugins.back()); });
  told([](fake_parts& parts) { kedge::testing::write_file(parts.places.plugins.back(), ""); });
  told([](fake_parts& parts) { kedge::testing::write_file(parts.root / "torch/version.py", "cuda = '14.0'\n"); });
  std::sort(lines.begin(), lines.end());
  CHECK(std::adjacent_find(lines.begin(), lines.end()) == lines.end());
  CHECK(std::find(lines.begin(), lines.end(), "") == lines.end());
}

TEST_CASE("a library for GPUs of this build is loaded and called") {
  fake_parts const parts;
  gpu_plugin const& plugin = load_gpu_library(parts.places);
  CHECK(plugin.kernels.current_stream(3) == reinterpret_cast<gpu_stream>(4));
  CHECK(plugin.new_graph_pool() == graph_pool(7, 8));
  int done = 0;
  plugin.record(at::kCPU, {}, [&] { ++done; })->replay();
  CHECK(done == 1);
  CHECK_THAT(gpu_library_line(parts.places), contains("CUDA 13.2") && contains("libkedge-cuda.so"));
}

TEST_CASE("a device is cpu, cuda or cuda with a number") {
  CHECK(opened_device("cpu").is_cpu());
  CHECK(named_device("cuda:1").index() == 1);
  for (char const* const name : {"gpu", "cuda:x", "mps", ""}) CHECK_THROWS_WITH(opened_device(name), contains("use cpu, cuda or cuda:N"));
}

TEST_CASE("the program says what there is for a GPU, or why there is none", "[program]") {
  std::string const problem = message_of([] { static_cast<void>(ask_gpu_driver()); });
  std::string const program = kedge::testing::quoted(KEDGE_PROGRAM), model = kedge::testing::quoted(std::string(KEDGE_TESTS_DIR) + "/golden/tiny/tied");
  auto const inspected = kedge::testing::shell(program + " inspect --device cuda " + model);
  CHECK_THAT(inspected.text, contains(problem.empty() ? "cuda:0" : "--device cuda: " + problem));
  CHECK_THAT(inspected.text, contains("libraries") && contains("LlamaForCausalLM"));
  auto const alone = kedge::testing::shell(program + " inspect --device cuda");
  CHECK_THAT(alone.text, contains(problem.empty() ? "cuda:0" : "--device cuda: " + problem));
  if (!problem.empty()) CHECK((inspected.code == 1 && alone.code == 1));
  kedge::testing::check_one_line(kedge::testing::shell(program + " inspect"), 2, "--model is required");
  CHECK_THAT(kedge::testing::shell(program + " --version").text, contains("\nGPUs: " + gpu_library_line() + "\n"));
  CHECK_THAT(kedge::testing::shell(program + " inspect --device gpu " + model).text, contains("use cpu, cuda or cuda:N"));
}

#if KEDGE_WITH_GPU
TEST_CASE("the CUDA part of LibTorch and the library for GPUs load together, and the processor's work goes on") {
  at::Tensor const before = at::ones({3});
  gpu_plugin const& plugin = gpu_library();
  CHECK(at::detail::getCUDAHooks().versionCUDART() / 1000 == libtorch_cuda(usual_gpu_places()) / 1000);
  CHECK(plugin.kernels.table != nullptr);
  CHECK((before + at::ones({3})).sum().item<double>() == 6);
}
#endif
