// SPDX-License-Identifier: Apache-2.0
// What a layer asks a GPU to launch, and to move, counted on the host.
#include "llm/model/launch_counter.hpp"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "../adapters/llm/src/model/gpu_way.hpp"
#include "../adapters/llm/src/model/side_by_side.hpp"
#include "llm/model/plain_model.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;

namespace {

// A layer of Llama-3.2-1B's proportions, an eighth as wide.
transformer_config layers(std::int64_t count) {
  transformer_config c = plain::tiny_config(true);
  c.hidden = 256;
  c.intermediate = 1024;
  c.layers = count;
  c.heads = 4;
  c.kv_heads = 1;
  c.head_dim = 64;
  return c;
}

transformer_config with_biases(transformer_config c) {
  c.qkv_bias = true;
  return c;
}

transformer_config with_head_norms(transformer_config c) {
  c.qk_norms = query_key_norms::by_head;
  return c;
}

// Of the second generation of Gemma but for the caps of its scores, with which attention goes another way.
transformer_config with_four_norms(transformer_config c) {
  c.norms = {.before_attention = "input_layernorm",
             .after_attention = "post_attention_layernorm",
             .before_mlp = "pre_feedforward_layernorm",
             .after_mlp = "post_feedforward_layernorm"};
  c.norm_offset = 1;
  c.act = activation::gelu_tanh;
  return c;
}

struct counted {
  std::map<std::string, launches::figures> forward, backward;
  std::int64_t tokens = 0;
};

// Of one micro-batch of so many copies of six pairs.
counted count(transformer_config const& config, std::size_t copies) {
  causal_lm const model(config, {.type = at::kBFloat16});
  pack const theta = plain::random_parameters(config, at::kFloat, 1), weights = model.weights_for(theta);
  pack gradient = weights;
  convert_side_by_side(gradient, kin_of(model.parameters()), at::kCPU, at::kFloat);
  for (at::Tensor& t : gradient) t.zero_();
  auto const six = plain::random_pairs(6, config.vocabulary, 2, 20, 20);
  std::vector<preference_pair> pairs;
  for (std::size_t i = 0; i < copies; ++i) pairs.insert(pairs.end(), six.begin(), six.end());
  std::vector<std::size_t> all(pairs.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  ragged_batch const batch = pack_pairs(pairs, all, read_at::every_token, /*share_prefixes=*/false);
  counted figures;
  figures.tokens = static_cast<std::int64_t>(batch.tokens.size());
  std::optional<launches::counter> counter(std::in_place);
  auto [logp, pullback] = model.forward(weights, batch);
  figures.forward = counter->by_section();
  counter.reset();
  counter.emplace();
  pullback(std::vector<double>(logp.size(), 0.5), gradient);
  figures.backward = counter->by_section();
  return figures;
}

// What a layer launches, and the bytes that these read and write: so many for each token, and so many whatever the tokens are, for weights.
struct row {
  std::int64_t forward = 0, backward = 0;
  double bytes_a_token = 0, bytes_of_weights = 0;
};

// What two layers take more than one; and of bytes, what twice as many tokens take more.
std::map<std::string, row> of_a_layer(transformer_config (*family)(transformer_config)) {
  constexpr std::size_t few = 4, many = 2 * few;  // more tokens than a norm's backward pass has partial sums
  std::map<std::string, row> parts;
  for (std::int64_t const depth : {1, 2})
    for (std::size_t const copies : {few, many}) {
      counted const all = count(family(layers(depth)), copies);
      double const sign = depth == 2 ? 1 : -1, more_tokens = static_cast<double>(all.tokens) * few / static_cast<double>(copies);
      auto const add = [&](std::string const& name, launches::figures const& f, std::int64_t row::* launched) {
        row& part = parts[name];
        auto const bytes = static_cast<double>(f.bytes);
        if (copies == few) part.*launched += static_cast<std::int64_t>(sign) * f.launches;
        part.bytes_a_token += sign * (copies == many ? bytes : -bytes) / more_tokens;
        part.bytes_of_weights += sign * (copies == many ? -1 : 2) * bytes;
      };
      for (auto const& [name, f] : all.forward) add(name, f, &row::forward);
      for (auto const& [name, f] : all.backward) add(name, f, &row::backward);
    }
  return parts;
}

// The sum of all parts; as a table where KEDGE_SHOW_LAUNCHES is set.
row shown(char const* title, std::map<std::string, row> const& parts) {
  bool const show = std::getenv("KEDGE_SHOW_LAUNCHES") != nullptr;
  auto const line = [&](std::string const& name, row const& r) {
    if (show)
      std::printf("| %s | %d | %d | %.0f | %.0f |\n", name.c_str(), static_cast<int>(r.forward), static_cast<int>(r.backward), r.bytes_a_token,
                  r.bytes_of_weights);
  };
  if (show) std::printf("\n| %s | forward | backward | bytes a token | bytes of weights |\n|---|---|---|---|---|\n", title);
  row sum;
  for (auto const& [name, part] : parts) {
    if (part.forward + part.backward == 0) continue;
    line(name, part);
    sum = {sum.forward + part.forward, sum.backward + part.backward, sum.bytes_a_token + part.bytes_a_token,
           sum.bytes_of_weights + part.bytes_of_weights};
  }
  line("all", sum);
  return sum;
}

std::map<std::string, row> by(gpu_way_on_host::by what, transformer_config (*family)(transformer_config)) {
  gpu_way_on_host const way(what);
  return of_a_layer(family);
}

}  // namespace

TEST_CASE("a layer launches at most 45 kernels forward and backward on a GPU, and moves less than half of what plain operations do", "[gpu]") {
  using way_by = gpu_way_on_host::by;
  auto const llama = [](transformer_config c) { return c; };
  std::map<std::string, row> const parts = by(way_by::kernels, llama);
  row const plainly = shown("llama, plain operations", by(way_by::plain_operations, llama)), kernels = shown("llama", parts);
  CHECK(plainly.forward + plainly.backward > 90);
  CHECK(kernels.forward == 10);
  CHECK(kernels.backward == 22);
  CHECK(2 * kernels.bytes_a_token < plainly.bytes_a_token);
  // A weight is read by both products that it stands in, bf16, and its gradient read and written, fp32.
  double const weights = static_cast<double>(parameter_count(layers(2)) - parameter_count(layers(1)));
  CHECK(std::abs(parts.at("products").bytes_of_weights / weights - (2 + 2 + 4 + 4)) < 0.01);
  for (auto const& [name, family] : {std::pair("qwen2", &with_biases), {"qwen3", &with_head_norms}, {"gemma2", &with_four_norms}}) {
    INFO(name);
    row const all = shown(name, by(way_by::kernels, family));
    CHECK(all.forward + all.backward <= 45);
  }
}
