// SPDX-License-Identifier: Apache-2.0

// What has to hold on a device, and how fast it is there: kedge_gpu_check [--device cuda|cpu] [--shape SHAPE] … (see bench/gpu.sh). One JSON
// object on stdout; exit code 1 where a check fails.

#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <random>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <kedge/llm/model/causal_lm.hpp>

namespace {

using namespace kedge::llm;
using json = nlohmann::ordered_json;

transformer_config shape_of(std::string const& name) {
  transformer_config c;
  auto const set = [&c](std::int64_t vocabulary, std::int64_t hidden, std::int64_t inner, std::int64_t layers, std::int64_t heads, std::int64_t kv_heads) {
    c.vocabulary = vocabulary;
    c.hidden = hidden;
    c.intermediate = inner;
    c.layers = layers;
    c.heads = heads;
    c.kv_heads = kv_heads;
    c.head_dim = hidden / heads;
    c.max_positions = 4096;
  };
  if (name == "tiny") set(500, 64, 96, 2, 4, 2);
  if (name == "llama-7b") set(32000, 4096, 11008, 32, 32, 32);
  if (name == "qwen2.5-0.5b") {
    set(151936, 896, 4864, 24, 14, 2);
    c.rope.theta = 1e6;
    c.qkv_bias = c.tied_embeddings = true;
  }
  return c;
}

pack random_weights(transformer_config const& c, at::Device device, at::ScalarType type) {
  at::manual_seed(0);
  pack theta;
  for (parameter const& p : parameters_of(c)) {
    at::Tensor const t = at::randn(p.shape, at::TensorOptions().device(device).dtype(type)).mul_(0.02);
    theta.push_back(p.shape.size() == 1 ? t.add_(1) : t);
  }
  return theta;
}

pack zeros_of(pack const& theta, at::ScalarType type) {
  pack zeros;
  for (at::Tensor const& t : theta) zeros.push_back(at::zeros(t.sizes(), t.options().dtype(type)));
  return zeros;
}

pack moved(pack theta, at::Device device, at::ScalarType type) {
  for (at::Tensor& t : theta) t = t.to(device, type);
  return theta;
}

ragged_batch random_pairs(std::int64_t vocabulary, std::size_t pairs, std::size_t prompt, std::size_t completion) {
  std::mt19937 random(1);
  auto const ids = [&](std::size_t n) {
    std::vector<std::int32_t> tokens(n);
    for (auto& id : tokens) id = static_cast<std::int32_t>(random() % static_cast<unsigned>(vocabulary));
    return tokens;
  };
  std::vector<preference_pair> all(pairs);
  std::vector<std::size_t> which;
  for (std::size_t i = 0; i < pairs; ++i) {
    all[i].prompt = ids(prompt);
    all[i].chosen = ids(completion);
    all[i].rejected = ids(completion - i % 3);
    which.push_back(i);
  }
  return pack_pairs(all, which);
}

struct passes {
  std::vector<double> logp;
  pack gradient;
};

std::vector<double> add_passes(causal_lm const& model, pack const& weights, ragged_batch const& batch, pack& gradient) {
  auto [logp, pullback] = model.forward(weights, batch);
  std::vector<double> cotangent;
  for (std::size_t i = 0; i < logp.size(); ++i) cotangent.push_back(i % 2 == 0 ? -0.5 : 0.5);
  pullback(cotangent, gradient);
  return logp;
}

passes run(causal_lm const& model, pack const& weights, ragged_batch const& batch) {
  passes result{{}, zeros_of(weights, weights.front().scalar_type() == at::kDouble ? at::kDouble : at::kFloat)};
  result.logp = add_passes(model, weights, batch, result.gradient);
  return result;
}

// The largest relative errors of log-probabilities and gradients on the device, against fp64 on the host.
json parity(at::Device device, at::ScalarType type, double allowed, bool& holds) {
  transformer_config const c = shape_of("tiny");
  ragged_batch const batch = random_pairs(c.vocabulary, 5, 17, 11);
  pack const exact = random_weights(c, at::kCPU, at::kDouble);
  passes const wanted = run({c, {.type = at::kDouble}}, exact, batch), got = run({c, {.type = type, .device = device}}, moved(exact, device, type), batch);
  double of_logp = 0, of_gradient = 0;
  for (std::size_t i = 0; i < wanted.logp.size(); ++i) of_logp = std::max(of_logp, std::abs(got.logp[i] / wanted.logp[i] - 1));
  for (std::size_t i = 0; i < exact.size(); ++i) {
    at::Tensor const g = got.gradient[i].to(at::kCPU, at::kDouble);
    of_gradient = std::max(of_gradient, (g - wanted.gradient[i]).norm().item<double>() / wanted.gradient[i].norm().item<double>());
  }
  bool const good = of_logp < allowed && of_gradient < 10 * allowed;
  holds = holds && good;
  return {{"dtype", at::toString(type)}, {"log_probabilities", of_logp}, {"gradients", of_gradient}, {"allowed", allowed}, {"holds", good}};
}

// Scoring and the forward pass of training are one: margins are exactly 0 before the first step, the loss is ln 2.
json first_loss(at::Device device, at::ScalarType type, bool& holds) {
  transformer_config const c = shape_of("tiny");
  ragged_batch const batch = random_pairs(c.vocabulary, 5, 17, 11);
  causal_lm const model(c, {.type = type, .device = device});
  pack const weights = random_weights(c, device, type);
  std::vector<double> const reference = model.log_probs(weights, batch), policy = model.forward(weights, batch).logp;
  double loss = 0;
  for (std::size_t i = 0; i + 1 < policy.size(); i += 2) {
    double const margin = (policy[i] - reference[i]) - (policy[i + 1] - reference[i + 1]);
    loss += std::log1p(std::exp(-0.1 * margin)) / static_cast<double>(policy.size() / 2);
  }
  bool const good = std::abs(loss - std::log(2.0)) < 1e-12;
  holds = holds && good;
  return {{"dtype", at::toString(type)}, {"loss", loss}, {"holds", good}};
}

double seconds_of(auto&& work) {
  auto const start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Operations a second of a large product in that type, the best of five.
double matrix_rate(at::Device device, at::ScalarType type, std::int64_t size) {
  at::Tensor const a = at::ones({size, size}, at::TensorOptions().device(device).dtype(type)), out = at::empty_like(a);
  double best = INFINITY;
  for (int i = 0; i < 6; ++i)
    best = std::min(best, seconds_of([&] {
      at::Tensor result = out;
      at::mm_out(result, a, a);
      static_cast<void>(result[0][0].item<float>());  // waits for the device
    }));
  double const n = static_cast<double>(size);
  return 2 * n * n * n / best;
}

// Passes that are recorded and replayed are the passes that are computed, up to what the padding of their batches changes in rounding. On the host
// nothing is recorded, and all else is the same.
json replayed(at::Device device, at::ScalarType type, double allowed, bool& holds) {
  transformer_config const c = shape_of("tiny");
  causal_lm const computes(c, {.type = type, .device = device}), replays(c, {.type = type, .device = device, .graphs = true});
  pack const weights = random_weights(c, device, type);
  double of_logp = 0, of_gradient = 0;
  pack gradient = zeros_of(weights, at::kFloat);
  for (std::size_t step = 0; step < 9; ++step) {
    ragged_batch const batch = random_pairs(c.vocabulary, 3 + step % 3, 17 + step % 2, 11);
    passes const wanted = run(computes, weights, batch);
    for (at::Tensor const& t : gradient) t.zero_();
    std::vector<double> const logp = add_passes(replays, weights, batch, gradient);
    for (std::size_t i = 0; i < logp.size(); ++i) of_logp = std::max(of_logp, std::abs(logp[i] / wanted.logp[i] - 1));
    for (std::size_t i = 0; i < gradient.size(); ++i)
      of_gradient = std::max(of_gradient, (gradient[i] - wanted.gradient[i]).norm().item<double>() / wanted.gradient[i].norm().item<double>());
  }
  bool const recordable = !device.is_cuda() || type == at::kBFloat16, good = of_logp < allowed && of_gradient < 10 * allowed && (replays.recorded_runs() > 0) == recordable;
  holds = holds && good;
  return {{"dtype", at::toString(type)}, {"log_probabilities", of_logp}, {"gradients", of_gradient}, {"allowed", allowed},
          {"recorded_runs", replays.recorded_runs()}, {"holds", good}};
}

// Forward and backward pass, without the optimiser, whose states a 7B model has no room for on one device.
json utilisation(transformer_config const& c, at::Device device, at::ScalarType type, bool graphs, std::size_t pairs, std::size_t prompt, std::size_t completion,
                 int steps, double peak) {
  causal_lm const model(c, {.type = type, .device = device, .head_rows = 2048, .graphs = graphs});
  pack const weights = random_weights(c, device, type);
  pack gradient = zeros_of(weights, at::kFloat);
  ragged_batch const batch = random_pairs(c.vocabulary, pairs, prompt, completion);
  std::vector<double> const cotangent(batch.sequences, 0.5);
  auto const step = [&] {
    auto [logp, pullback] = model.forward(weights, batch);
    pullback(cotangent, gradient);
    static_cast<void>(gradient.back().sum().item<float>());  // waits for the device
  };
  step();
  step();  // the first one of a size computes, the second one records
  double best = INFINITY;
  for (int i = 0; i < steps; ++i) best = std::min(best, seconds_of(step));
  auto const tokens = static_cast<double>(batch.size()), rows = static_cast<double>(batch.rows.size());
  auto const head = static_cast<double>(c.vocabulary * c.hidden), body = static_cast<double>(parameter_count(c)) - head * (c.tied_embeddings ? 1 : 2);
  double seen = 0;
  for (shared_prompt const& group : batch.prompts) {
    auto const causal = [](double n) { return n * (n + 1) / 2; };
    auto const p = static_cast<double>(group.prompt);
    seen += causal(p);
    for (std::int64_t const own : group.completions) seen += p * static_cast<double>(own) + causal(static_cast<double>(own));
  }
  double const operations = 6 * (body * tokens + head * rows) + 12 * seen * static_cast<double>(c.layers * c.heads * c.head_dim);
  return {{"graphs", graphs}, {"parameters", parameter_count(c)}, {"tokens", batch.size()}, {"seconds", best}, {"tokens_per_second", tokens / best},
          {"tflops", operations / best / 1e12}, {"peak_tflops", peak / 1e12}, {"mfu", operations / best / peak}};
}

}  // namespace

int main(int count, char** words) try {
  std::string device_name = "cuda", shape = "qwen2.5-0.5b";
  double peak = 0;
  std::size_t pairs = 8, prompt = 512, completion = 256;
  int steps = 5;
  CLI::App app("Checks of the model on a device, and the share of its peak that training passes reach.", "kedge_gpu_check");
  app.add_option("--device", device_name, "cuda, cuda:N or cpu")->capture_default_str();
  app.add_option("--shape", shape, "of the random model")->check(CLI::IsMember({"tiny", "qwen2.5-0.5b", "llama-7b"}))->capture_default_str();
  app.add_option("--pairs", pairs, "in a step")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--prompt", prompt, "tokens")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--completion", completion, "tokens, at least 3")->check(CLI::Range(3, 100000))->capture_default_str();
  app.add_option("--steps", steps)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--peak", peak, "TFLOP/s in bf16 that the share is of; 0: the rate of a large product, measured here. An H100 SXM has 989")->capture_default_str();
  CLI11_PARSE(app, count, words);
  at::Device const device(device_name);
  if (device.is_cuda() && !at::hasCUDA()) {
    std::fprintf(stderr, "kedge_gpu_check: there is no GPU here, or this LibTorch has no CUDA; --device cpu --shape tiny proves the program alone\n");
    return 1;
  }
  at::NoGradGuard const no_grad;
  bool holds = true;
  json report{{"device", device.str()}, {"shape", shape}};
  report["parity"] = {parity(device, at::kFloat, 1e-4, holds), parity(device, at::kBFloat16, 2e-2, holds)};
  report["first_loss"] = {first_loss(device, at::kFloat, holds), first_loss(device, at::kBFloat16, holds)};
  report["replayed"] = {replayed(device, at::kFloat, 1e-4, holds), replayed(device, at::kBFloat16, 2e-2, holds)};
  double const rate = peak > 0 ? peak * 1e12 : matrix_rate(device, at::kBFloat16, device.is_cuda() ? 8192 : 512);
  for (bool const graphs : {false, true})
    report["training"].push_back(utilisation(shape_of(shape), device, at::kBFloat16, graphs, pairs, prompt, completion, steps, rate));
  std::printf("%s\n", report.dump(2).c_str());
  if (!holds) std::fprintf(stderr, "kedge_gpu_check: a check failed, see \"holds\": false above\n");
  return holds ? 0 : 1;
} catch (std::exception const& e) {
  std::fprintf(stderr, "kedge_gpu_check: %s\n", e.what());
  return 1;
}
