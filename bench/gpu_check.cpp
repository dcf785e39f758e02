// SPDX-License-Identifier: Apache-2.0

// kedge_gpu_check: the parts of bench/gpu.sh that compute (bench/gpu/check.hpp). Rows of results on stdout; exit code 1 where a check fails.

#include <cstdio>
#include <optional>

#include <CLI/CLI.hpp>

#include <kedge/llm/base/json.hpp>

#include "../adapters/llm/src/model/gpu_way.hpp"
#include "../adapters/llm/src/train/opened_device.hpp"
#include "gpu/check.hpp"
#include "gpu/kit.hpp"

namespace {

using namespace kedge::gpu_check;

void say_way(std::filesystem::path const& config, std::int64_t bytes) {
  kedge::gpu_kit::training_way const way =
      kedge::gpu_kit::way_that_fits(kedge::llm::read_config(kedge::llm::read_json_file(config), config.string()), bytes);
  std::printf("%s", way.name.c_str());
  for (std::int64_t const number : {way.fixed, way.of_token, way.tokens, way.kept_logits}) std::printf(" %lld", static_cast<long long>(number));
  for (std::string const& flag : way.flags) std::printf(" %s", flag.c_str());
  std::printf("\n");
}

}  // namespace

int main(int count, char** words) try {
  std::string device_name = "cuda";
  std::filesystem::path path;
  bool small = false, gpu_way = false, holds = true;
  std::int64_t bytes = 0;
  CLI::App app("What has to hold on a device, and how fast it is there.", "kedge_gpu_check");
  app.require_subcommand(1);
  app.add_option("--device", device_name, "cuda, cuda:N or cpu")->capture_default_str();
  app.add_flag("--small", small, "no sizes of real models, and few families: for a processor");
  app.add_flag("--gpu_way", gpu_way, "a processor goes a GPU's way, by the kernels compiled for it");
  std::optional<kedge::llm::gpu_way_on_host> way_on_host;
  auto const device = [&] {
    if (gpu_way) way_on_host.emplace();
    return kedge::llm::opened_device(device_name);
  };
  auto const part = [&](char const* name, char const* help, auto work) {
    return app.add_subcommand(name, help)->callback([&holds, work] { holds = work(); });
  };
  part("parity", "families and precisions against float64 on the host", [&] { return parity(device(), path, small); })
      ->add_option("families", path, "folder of tiny models")
      ->required();
  part("confident", "the gradient of tokens that are nearly certain", [&] { return confident(device()); });
  part("first_loss", "ln 2, and margins of 0", [&] { return first_loss(device()); });
  part("graphs", "recorded passes against computed ones", [&] { return graphs(device()); });
  part("kernels", "every kernel against its host twin", [&] { return kernels(device(), !small); });
  part("rates", "of products, copies and launches", [&] { return rates(device(), !small); });
  CLI::App& way = *app.add_subcommand(
      "way", "NAME, bytes, bytes a token, most tokens at once, most bytes of kept probabilities, and flags of the training that fits");
  way.add_option("config", path)->required();
  way.add_option("--memory", bytes, "of the device")->required();
  way.callback([&] { say_way(path, bytes); });
  at::NoGradGuard const no_grad;
  CLI11_PARSE(app, count, words);
  if (!holds) std::fprintf(stderr, "a check fails: see \"holds\": false\n");
  return holds ? 0 : 1;
} catch (std::exception const& e) {
  std::string const text = e.what();
  std::fprintf(stderr, "kedge_gpu_check: %s\n", text.substr(0, text.find('\n')).c_str());
  return 1;
}
