// SPDX-License-Identifier: Apache-2.0

// kedge's side of compare_families.py:
//
//   family_numbers MODEL IDS OUT    OUT, a safetensors file: "logits" [T - 1, vocabulary], the log-probabilities of every token after
//                                   the first t = 1, 2, … of the T ids, and the gradient, under each parameter's name, of the mean
//                                   negative log-probability of all ids but the first
//
// IDS is a JSON array. All in float32, on one thread.
#include <cstdio>
#include <exception>
#include <numeric>
#include <string>

#include <ATen/Parallel.h>

#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/formats/safetensors.hpp>
#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/model/weights.hpp>

namespace {

using namespace kedge::llm;
using ids_type = std::vector<std::int32_t>;

std::span<std::byte const> bytes_of(at::Tensor const& t) { return std::as_bytes(std::span(t.const_data_ptr<float>(), static_cast<std::size_t>(t.numel()))); }

at::Tensor every_next_token(causal_lm const& model, pack const& theta, ids_type const& ids) {
  ids_type every(static_cast<std::size_t>(model.config().vocabulary));
  std::iota(every.begin(), every.end(), 0);
  ragged_batch batch;
  for (std::size_t t = 1; t < ids.size(); ++t) {
    std::vector<std::span<std::int32_t const>> completions;
    for (std::int32_t const& id : every) completions.emplace_back(&id, 1);
    append(batch, std::span(ids).first(t), completions);
  }
  return at::tensor(model.log_probs(theta, batch)).view({-1, model.config().vocabulary}).to(at::kFloat);
}

pack gradient_of_mean_loss(causal_lm const& model, pack const& theta, ids_type const& ids) {
  ragged_batch batch;
  std::span<std::int32_t const> const completion[] = {std::span(ids).subspan(1)};
  append(batch, std::span(ids).first(1), completion);
  pack gradient;
  for (at::Tensor const& t : theta) gradient.push_back(at::zeros_like(t));
  double const slope[] = {-1.0 / static_cast<double>(ids.size() - 1)};
  model.forward(theta, batch).pullback(slope, gradient);
  return gradient;
}

void run(char const* folder, char const* listed, char const* out) {
  at::set_num_threads(1);
  checkpoint const source = checkpoint::open(folder);
  causal_lm const model(read_config(source.config, folder), {});
  pack const theta = load_parameters(source, model.config());
  auto const ids = nlohmann::json::parse(listed).get<ids_type>();
  at::Tensor const logits = every_next_token(model, theta, ids);
  pack const gradient = gradient_of_mean_loss(model, theta, ids);
  std::vector<parameter> const names = model.parameters();
  std::vector<tensor_to_write> all{{"logits", dtype::f32, logits.sizes().vec(), bytes_of(logits)}};
  for (std::size_t i = 0; i < names.size(); ++i) all.push_back({names[i].name, dtype::f32, names[i].shape, bytes_of(gradient[i])});
  write_safetensors(out, all, {});
}

}  // namespace

int main(int count, char** words) {
  if (count != 4) {
    std::fprintf(stderr, "usage: family_numbers MODEL IDS OUT\n");
    return 2;
  }
  try {
    run(words[1], words[2], words[3]);
  } catch (std::exception const& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
