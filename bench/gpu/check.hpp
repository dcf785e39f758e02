// SPDX-License-Identifier: Apache-2.0
#pragma once

// The parts of kedge_gpu_check (bench/gpu_check.cpp). Each writes a row, a JSON object on a line of stdout, as soon as it has it, so that a part
// that is ended leaves what it had; "holds" says whether a check holds. Each returns whether all do.

#include <filesystem>

#include <nlohmann/json.hpp>

#include <kedge/llm/model/causal_lm.hpp>

namespace kedge::gpu_check {

using json = nlohmann::ordered_json;
using llm::causal_lm, llm::pack, llm::ragged_batch, llm::transformer_config;

/// Writes a row. Returns its "holds", true where it has none.
bool say(json const& row);

/// How a model computes in a check.
struct precision {
  char const* name;
  at::ScalarType type;
  bool tf32, fp8;
  double logp, gradient;  ///< most relative error allowed; of bf16, also twice that of a GPU's way on this host, and a tenth of this
};

/// Log-probabilities and gradients of every family in a folder of tiny models, in each precision of the device, against fp64 on the host.
/// few: every eighth family alone
bool parity(at::Device device, std::filesystem::path const& families, bool few);
/// The same of a model that gives its completion's token the probability 0.9, 0.99 or 0.999.
bool confident(at::Device device);
/// The loss before the first step is ln 2, margins are exactly 0.
bool first_loss(at::Device device);
/// Recorded passes are computed ones.
bool graphs(at::Device device);
/// Every kernel of the device's table against that of the host, at odd and real sizes, with seconds and bytes a second; `real`: the latter too.
bool kernels(at::Device device, bool real);
/// Operations a second of large products of random numbers, bytes a second of a copy, and seconds of a launch.
bool rates(at::Device device, bool large);

// --- what they share ---

transformer_config tiny_llama();
pack random_weights(transformer_config const& config, at::Device device, at::ScalarType type);
/// Prompts of `prompt` tokens and two completions each, of `completion` and a few less.
ragged_batch random_pairs(std::int64_t vocabulary, std::size_t pairs, std::size_t prompt, std::size_t completion);
pack moved(pack theta, at::Device device, at::ScalarType type);
pack zeros_of(pack const& theta, at::ScalarType type);

/// What a forward and a backward pass give.
struct passes {
  std::vector<double> logp;
  pack gradient;
};
/// Cotangents are −½ and ½ by turns.
passes run(causal_lm const& model, pack const& weights, ragged_batch const& batch);
passes run(causal_lm const& model, pack const& weights, ragged_batch const& batch, std::span<double const> cotangent);

struct errors {
  double logp = 0;      ///< largest |difference| / max(1, |exact|)
  double gradient = 0;  ///< ‖difference‖ / ‖exact‖ of all tensors together
  double tensor = 0;    ///< the largest of one tensor, those aside that are less than a thousandth of the whole
};
errors errors_of(passes const& got, passes const& exact);

/// Waits until the device has done what it was given.
void wait_for(at::Device device);
/// Seconds of work put in line `times` times, after one to warm up, the waiting for the device included, over `times`.
template <class Work>
double seconds_of(at::Device device, int times, Work const& work);

}  // namespace kedge::gpu_check

#include <chrono>

template <class Work>
double kedge::gpu_check::seconds_of(at::Device device, int times, Work const& work) {
  work();
  wait_for(device);
  auto const start = std::chrono::steady_clock::now();
  for (int i = 0; i < times; ++i) work();
  wait_for(device);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / times;
}
