// SPDX-License-Identifier: Apache-2.0
// The way that tensors of a GPU go, tried on the host: its kernels' bodies in the place of every kernel, held to fp64.
#include "../adapters/llm/src/model/gpu_way.hpp"

#include <numeric>
#include <optional>

#include <kedge/llm/model/lora.hpp>

#include "../adapters/llm/src/model/gpu_ops.hpp"
#include "../adapters/llm/src/model/side_by_side.hpp"
#include "../adapters/llm/src/model/varlen_attention.hpp"
#include "llm/model/golden_families.hpp"
#include "llm/model/plain_model.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;
using kedge::testing::golden_families;
using kedge::testing::golden_family;
using kedge::testing::named_model;

namespace {

using way_by = gpu_way_on_host::by;

pack converted(pack theta, std::vector<parameter> const& names, at::ScalarType type) {
  convert_side_by_side(theta, kin_of(names), at::kCPU, type);
  return theta;
}

pack zeros_side_by_side(pack const& theta, std::vector<parameter> const& names, at::ScalarType type) {
  pack zeros = plain::zeros_like(theta, at::kInt);
  convert_side_by_side(zeros, kin_of(names), at::kCPU, type);
  return zeros;
}

struct pass {
  std::vector<double> logp;
  pack gradient;
};

pass forward_and_backward(causal_lm const& model, pack const& weights, ragged_batch const& batch, pack gradient) {
  auto [logp, pullback] = model.forward(weights, batch);
  std::vector<double> slopes;
  for (std::size_t i = 0; i < logp.size(); ++i) slopes.push_back(std::sin(static_cast<double>(i + 1)));
  pullback(slopes, gradient);
  return {std::move(logp), std::move(gradient)};
}

double norm(pack const& x) {
  double squares = 0;
  for (at::Tensor const& t : x) squares += std::pow(t.to(at::kDouble).norm().item<double>(), 2);
  return std::sqrt(squares);
}

// Of the gradient, relative; of log-probabilities, a token.
struct error_of {
  double gradient = 0, logp = 0;
  error_of(pass const& measured, pass const& exact, std::size_t tokens) {
    pack difference;
    for (std::size_t i = 0; i < exact.gradient.size(); ++i) difference.push_back(measured.gradient[i].to(at::kDouble) - exact.gradient[i]);
    gradient = norm(difference) / norm(exact.gradient);
    for (std::size_t i = 0; i < exact.logp.size(); ++i) logp += std::abs(measured.logp[i] - exact.logp[i]) / static_cast<double>(tokens);
  }
};

void check_same_bits(pass const& x, pass const& y) {
  CHECK(x.logp == y.logp);
  for (std::size_t i = 0; i < x.gradient.size(); ++i) CHECK(at::equal(x.gradient[i], y.gradient[i]));
}

struct family : named_model {
  ragged_batch batch;
};

// Pairs that share prompts, and what prompts begin with where a family allows that.
std::vector<family> families() {
  std::vector<family> all;
  for (named_model& one : golden_families()) {
    family f{std::move(one), {}};
    auto pairs = plain::random_pairs(3, f.config.vocabulary, 5, 7, 8);
    causal_lm const model(f.config, {});
    if (model.shares_prefixes())
      for (preference_pair& pair : pairs) pair.prompt.insert(pair.prompt.begin(), {1, 2, 3, 4, 5, 6, 7, 8, 9});
    std::vector<std::size_t> which(pairs.size());
    std::iota(which.begin(), which.end(), std::size_t{0});
    f.batch = pack_pairs(pairs, which, read_at::every_token, model.shares_prefixes());
    all.push_back(std::move(f));
  }
  return all;
}

}  // namespace

namespace {

// A family's passes in fp64 on the processor's way, and in other types on a GPU's.
class held_family {
 public:
  held_family(family const& f, pack const& theta) : f_(f), names_(parameters_of(f.config)), theta_(theta) {
    pack const wide = converted(theta, names_, at::kDouble);
    exact_ = forward_and_backward(causal_lm(f.config, {.type = at::kDouble}), wide, f.batch, plain::zeros_like(wide));
  }

  [[nodiscard]] pass on_gpu_way(at::ScalarType type, way_by by, std::int64_t kept = std::int64_t{1} << 30, bool side_by_side = true) const {
    gpu_way_on_host const way(by);
    pack const weights = converted(theta_, names_, type);
    at::ScalarType const sums = type == at::kDouble ? at::kDouble : at::kFloat;
    causal_lm const model(f_.config, {.type = type, .head_rows = 7, .kept_logits = kept, .activation_bytes = kept});
    pass measured = forward_and_backward(model, weights, f_.batch, side_by_side ? zeros_side_by_side(weights, names_, sums) : plain::zeros_like(weights, sums));
    CHECK(model.log_probs(weights, f_.batch) == measured.logp);
    return measured;
  }
  [[nodiscard]] error_of error(pass const& measured) const { return {measured, exact_, f_.batch.rows.size()}; }

 private:
  family const& f_;
  std::vector<parameter> names_;
  pack theta_;
  pass exact_;
};

}  // namespace

TEST_CASE("on a GPU's way every family has the log-probabilities and gradients of fp64 in fp64 and in fp32", "[gpu]") {
  for (family const& f : families()) {
    INFO(f.name);
    held_family const held(f, f.theta);
    error_of const whole = held.error(held.on_gpu_way(at::kDouble, way_by::plain_operations)), single = held.error(held.on_gpu_way(at::kFloat, way_by::kernels)),
                   apart = held.error(held.on_gpu_way(at::kFloat, way_by::kernels, /*kept=*/0, /*side_by_side=*/false));
    CHECK(whole.logp < 1e-12);
    CHECK(whole.gradient < 1e-11);
    for (error_of const& e : {single, apart}) {
      CHECK(e.logp < 1e-5);
      CHECK(e.gradient < 1e-4);
    }
  }
}

TEST_CASE("on a GPU's way every family is as near to fp64 in bfloat16 as by plain operations, and again bit for bit", "[gpu]") {
  double by_kernels = 0, plainly = 0;
  std::size_t seen = 0;
  for (family const& f : families()) {
    INFO(f.name);
    ++seen;
    std::vector<parameter> const names = parameters_of(f.config);
    held_family const held(f, converted(f.theta, names, at::kBFloat16));  // rounded weights are no error of the way
    pass const measured = held.on_gpu_way(at::kBFloat16, way_by::kernels);
    check_same_bits(measured, held.on_gpu_way(at::kBFloat16, way_by::kernels));
    pass const frugal = held.on_gpu_way(at::kBFloat16, way_by::kernels, /*kept=*/0);
    CHECK(frugal.logp == measured.logp);
    error_of const plain = held.error(held.on_gpu_way(at::kBFloat16, way_by::plain_operations));
    for (error_of const& e : {held.error(measured), held.error(frugal)}) {
      CHECK(e.logp < 0.03);
      CHECK(e.gradient < 0.12);
    }
    by_kernels += held.error(measured).gradient;
    plainly += plain.gradient;
  }
  CHECK(seen == 51);
  CHECK(by_kernels < 1.05 * plainly);
}

TEST_CASE("adapters on a GPU's way have the gradients of fp64", "[gpu]") {
  for (char const* const name : {"llama2", "phi3_longrope", "qwen2"})
    for (bool const dora : {false, true}) {
      INFO(name << (dora ? " with lengths" : ""));
      named_model const of = golden_family(name);
      transformer_config const& config = of.config;
      pack const& base = of.theta;
      auto const pairs = plain::random_pairs(3, config.vocabulary, 5, 7, 8);
      std::vector<std::size_t> const which{0, 1, 2};
      ragged_batch const batch = pack_pairs(pairs, which);
      lora_settings const lora{.rank = 4, .target_modules = {"all-linear"}, .dora = dora};
      auto const of_type = [&](at::ScalarType type) {
        causal_lm const model(config, {.type = type}, lora, base);
        pack adapter = initial_adapter(model, 1);
        for (at::Tensor& t : adapter) t = t + 0.1 * at::sin(at::arange(t.numel(), at::kFloat)).view_as(t);
        pack const weights = model.weights_for(adapter);
        return forward_and_backward(model, weights, batch, plain::zeros_like(weights, type == at::kDouble ? at::kDouble : at::kFloat));
      };
      pass const exact = of_type(at::kDouble);
      gpu_way_on_host const way;
      CHECK(error_of(of_type(at::kDouble), exact, batch.rows.size()).gradient < 1e-10);
      CHECK(error_of(of_type(at::kFloat), exact, batch.rows.size()).gradient < 1e-4);
      CHECK(error_of(of_type(at::kBFloat16), exact, batch.rows.size()).gradient < 0.12);
    }
}

TEST_CASE("keys of shared prompts are gathered, and their gradients summed, as by index_select and index_add_", "[gpu]") {
  gpu_way_on_host const way;
  std::vector<shared_prompt> const prompts{{0, 5, {3, 4}}, {12, 0, {7}}, {19, 3, {2, 9, 1}}, {34, 3, {4, 8}, {19, 2}}};
  std::int64_t const tokens = 34 + 3 + 12;
  ops::varlen_sequences const sequences = ops::varlen_of(prompts);
  ops::varlen_lists const lists = ops::lists_on(at::kCPU, sequences);
  CHECK(lists.starts.size(0) == tokens + 1);
  CHECK(at::equal(std::get<0>(lists.places.sort()), at::arange(lists.keys.size(0))));
  for (std::int64_t const head_dim : {8, 10})
    for (at::ScalarType const type : {at::kFloat, at::kBFloat16}) {
      INFO(head_dim << " numbers of " << at::toString(type));
      // q, k and v side by side.
      at::Tensor const all = at::randn({tokens, 7, head_dim}).to(type), k = all.narrow(1, 3, 2), v = all.narrow(1, 5, 2);
      auto const [keys, values] = gpu_ops::gather(lists.keys, k, v);
      CHECK(at::equal(keys, k.index_select(0, lists.keys)));
      CHECK(at::equal(values, v.index_select(0, lists.keys)));
      at::Tensor const out = at::full({tokens, 7, head_dim}, 3, all.options());
      gpu_ops::reduce(lists.starts, lists.places, keys, values, out.narrow(1, 3, 2), out.narrow(1, 5, 2));
      auto const expected = [&](at::Tensor const& x) {
        return at::zeros({tokens, 2, head_dim}, at::kDouble).index_add_(0, lists.keys, x.to(at::kDouble));
      };
      double const bound = type == at::kFloat ? 1e-6 : 8e-3;
      for (auto const& [part, from] : {std::pair(out.narrow(1, 3, 2), keys), {out.narrow(1, 5, 2), values}})
        CHECK(((part.to(at::kDouble) - expected(from)).abs() <= bound * (1 + expected(from).abs())).all().item<bool>());
      CHECK(out.narrow(1, 0, 3).eq(3).all().item<bool>());
    }
}

TEST_CASE("tensors lie side by side where each begins as the one before ends", "[gpu]") {
  at::Tensor const memory = at::arange(60), matrix = memory.view({10, 6});
  CHECK(at::equal(side_by_side({matrix.narrow(0, 2, 3), matrix.narrow(0, 5, 4)}, 0), matrix.narrow(0, 2, 7)));
  CHECK(at::equal(side_by_side({matrix.narrow(1, 1, 2), matrix.narrow(1, 3, 3)}, 1), matrix.narrow(1, 1, 5)));
  CHECK_FALSE(side_by_side({matrix.narrow(0, 2, 3), matrix.narrow(0, 6, 2)}, 0).defined());    // a gap
  CHECK_FALSE(side_by_side({matrix.narrow(0, 5, 2), matrix.narrow(0, 2, 3)}, 0).defined());    // the wrong way round
  CHECK_FALSE(side_by_side({matrix.narrow(1, 1, 2), matrix.narrow(1, 3, 3)}, 0).defined());    // along the other dimension
  CHECK_FALSE(side_by_side({matrix.narrow(0, 2, 3), at::arange(30, 54).view({4, 6})}, 0).defined());
  CHECK_FALSE(side_by_side({matrix, at::Tensor()}, 0).defined());
}

TEST_CASE("weights and gradients of maps that read the same lie side by side in memory", "[gpu]") {
  transformer_config config = plain::tiny_config(true);
  config.qkv_bias = true;
  std::vector<parameter> const names = parameters_of(config);
  pack const theta = plain::random_parameters(config, at::kFloat, 1), weights = causal_lm(config, {.type = at::kBFloat16}).weights_for(theta);
  std::size_t together = 0;
  for (std::vector<std::size_t> const& group : kin_of(names)) {
    std::vector<at::Tensor> parts;
    for (std::size_t const i : group) {
      parts.push_back(weights[i]);
      CHECK(at::equal(weights[i], theta[i].to(at::kBFloat16)));
    }
    CHECK(side_by_side(parts, 0).defined());
    if (group.size() > 1) ++together;
  }
  CHECK(together == 3 * static_cast<std::size_t>(config.layers));  // q, k, v; their biases; gate, up
}
