// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numeric>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/model/weights.hpp>

#include "../../adapters/llm/src/model/gpu_way.hpp"
#include "check.hpp"

namespace kedge::gpu_check {
namespace {

namespace fs = std::filesystem;

constexpr precision all_precisions[] = {
    {"float32", at::kFloat, false, false, 1e-5, 2e-4},
    {"float32, tf32", at::kFloat, true, false, 5e-3, 2e-2},
    {"bfloat16", at::kBFloat16, false, false, 2e-2, 2e-1},
    {"bfloat16, fp8", at::kBFloat16, false, true, 2e-1, 1.5},
};

// On the host float32 is float32, and 8 bits are those of a GPU's way.
bool is_there(precision const& p, at::Device device) { return device.is_cuda() || (!p.tf32 && (!p.fp8 || llm::goes_gpu_way(device))); }

// What rounding to short numbers costs depends on the model. So a device is held to the same way taken by this host too, where that is another.
precision as_on_host(precision p, transformer_config const& config, pack const& exact, ragged_batch const& batch, passes const& wanted) {
  if (llm::goes_gpu_way(at::kCPU) || p.type != at::kBFloat16) return p;
  llm::gpu_way_on_host const way;
  errors const e = errors_of(run({config, {.type = p.type, .fp8 = p.fp8}}, moved(exact, at::kCPU, p.type), batch), wanted);
  p.logp = std::min(p.logp, 2 * e.logp + p.logp / 10);
  p.gradient = std::min(p.gradient, 2 * e.gradient + p.gradient / 10);
  return p;
}

// A token between two experts goes to the other one where its numbers are rounded.
precision with_experts(precision p) {
  if (p.type == at::kBFloat16) p.logp *= 5, p.gradient *= 5;
  return p;
}

class tf32_while_it_lives {
 public:
  explicit tf32_while_it_lives(bool on) : was_(at::globalContext().allowTF32CuBLAS()) { at::globalContext().setAllowTF32CuBLAS(on); }
  ~tf32_while_it_lives() { at::globalContext().setAllowTF32CuBLAS(was_); }
  tf32_while_it_lives(tf32_while_it_lives const&) = delete;
  tf32_while_it_lives& operator=(tf32_while_it_lives const&) = delete;

 private:
  bool was_;
};

json row_of(char const* table, std::string const& name, precision const& p, errors const& e) {
  bool const holds = e.logp < p.logp && e.gradient < p.gradient;
  return {{"table", table},         {"model", name},
          {"precision", p.name},    {"log-probabilities", e.logp},
          {"gradient", e.gradient}, {"worst tensor", e.tensor},
          {"allowed", p.logp},      {"allowed of gradient", p.gradient},
          {"holds", holds}};
}

bool parity_of(fs::path const& folder, at::Device device) {
  llm::checkpoint const source = llm::checkpoint::open(folder);
  transformer_config const config = llm::read_config(source);
  pack const exact = moved(llm::load_parameters(source, config), at::kCPU, at::kDouble);
  ragged_batch const batch = random_pairs(config.vocabulary, 4, 12, 9);
  passes const wanted = run({config, {.type = at::kDouble}}, exact, batch);
  bool all = true;
  for (precision const& each : all_precisions) {
    if (!is_there(each, device)) continue;
    tf32_while_it_lives const tf32(each.tf32);
    precision const p = config.experts.count > 0 ? with_experts(each) : device.is_cpu() ? each : as_on_host(each, config, exact, batch, wanted);
    try {
      causal_lm const model(config, {.type = p.type, .device = device, .fp8 = p.fp8});
      all &= say(row_of("families", folder.filename().string(), p, errors_of(run(model, moved(exact, device, p.type), batch), wanted)));
    } catch (std::exception const& e) {  // one that a device can't do, as 8 bits on an older GPU, keeps no other from being looked at
      std::string const why = e.what();
      all &= say({{"table", "families"}, {"model", folder.filename().string()}, {"precision", p.name}, {"error", why.substr(0, why.find('\n'))}, {"holds", false}});
    }
  }
  return all;
}

// One prompt, and the token that the model finds likeliest after it.
ragged_batch likeliest_after(causal_lm const& model, pack const& theta, std::vector<std::int32_t> const& prompt) {
  std::vector<std::int32_t> every(static_cast<std::size_t>(model.config().vocabulary));
  std::iota(every.begin(), every.end(), 0);
  std::vector<std::span<std::int32_t const>> completions;
  for (std::int32_t const& id : every) completions.emplace_back(&id, 1);
  ragged_batch all, one;
  append(all, prompt, completions);
  std::vector<double> const logp = model.log_probs(theta, all);
  auto const best = static_cast<std::size_t>(std::max_element(logp.begin(), logp.end()) - logp.begin());
  append(one, prompt, std::span(completions).subspan(best, 1));
  return one;
}

// The head's row of the batch's token turned towards what it reads until the token has the probability: all other logits stay.
pack with_probability(causal_lm const& model, pack theta, ragged_batch const& batch, double probability) {
  at::Tensor& head = theta.back();
  std::int64_t const token = batch.targets.at(0);
  double const cotangent[] = {1};
  at::Tensor const read = run(model, theta, batch, cotangent).gradient.back()[token], along = read / read.norm(),
                   as_it_was = head;  // (1 − p) times what the head reads
  double low = 0, high = 100;
  for (int i = 0; i < 60; ++i) {
    double const middle = (low + high) / 2;
    head = as_it_was.clone();
    head[token].add_(along, middle);
    (model.log_probs(theta, batch).at(0) < std::log(probability) ? low : high) = middle;
  }
  head = head.to(at::kBFloat16).to(at::kDouble);
  return theta;
}

}  // namespace

bool parity(at::Device device, fs::path const& families, bool few) {
  std::vector<fs::path> folders;
  for (auto const& entry : fs::directory_iterator(families))
    if (fs::exists(entry.path() / "config.json")) folders.push_back(entry.path());
  if (folders.empty()) throw llm::error(families.string() + ": no models");
  std::sort(folders.begin(), folders.end());
  bool all = true;
  for (std::size_t i = 0; i < folders.size(); i += few ? 8 : 1) all &= parity_of(folders[i], device);
  return all;
}

bool confident(at::Device device) {
  transformer_config const config = tiny_llama();
  causal_lm const exact_model(config, {.type = at::kDouble});
  pack const weights = random_weights(config, at::kCPU, at::kDouble);
  bool all = true;
  for (double const probability : {0.9, 0.99, 0.999}) {
    ragged_batch const batch = likeliest_after(exact_model, weights, {3, 141, 59, 26, 53, 58, 97, 93});
    pack const exact = with_probability(exact_model, weights, batch, probability);
    double const cotangent[] = {1};
    passes wanted = run(exact_model, exact, batch, cotangent);
    for (precision const& p : all_precisions) {
      if (!is_there(p, device) || p.fp8) continue;  // the head isn't computed in 8 bits
      tf32_while_it_lives const tf32(p.tf32);
      passes const got = run({config, {.type = p.type, .device = device, .fp8 = p.fp8}}, moved(exact, device, p.type), batch, cotangent);
      // The gradient is 1 − p times what hardly depends on p; rounding of logits moves p itself, and that is no fault of the way back. Of 1 − p = 0.001
      // float32 has three digits less than of p.
      passes scaled = wanted;
      for (at::Tensor& g : scaled.gradient) g = g * (std::expm1(got.logp[0]) / std::expm1(wanted.logp[0]));
      precision looser = p;
      looser.gradient = std::max(p.gradient, 1e-2);
      json row = row_of("confident tokens", "p = " + json(probability).dump(), looser, errors_of(got, scaled));
      row["1 - p"] = -std::expm1(wanted.logp[0]);
      row["1 - p there"] = -std::expm1(got.logp[0]);
      all &= say(row);
    }
  }
  return all;
}

}  // namespace kedge::gpu_check
