// SPDX-License-Identifier: Apache-2.0

// The LM head of a confident model: what is left of the gradient where a token's probability is nearly 1.

#include <cmath>
#include <optional>
#include <random>
#include <utility>

#include <kedge/adapters/torch.hpp>

#include "../adapters/llm/src/model/gpu_way.hpp"
#include "../adapters/llm/src/model/head.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;

namespace {

// A head, and a hidden state for each probability that gives it to its target, all of them numbers of bf16.
struct confident_rows {
  at::Tensor weight, hidden, targets;
  explicit confident_rows(std::vector<double> const& probabilities) {
    constexpr std::int64_t vocabulary = 300, size = 96;
    std::mt19937 engine(3);
    std::normal_distribution<double> normal;
    auto const random = [&](std::int64_t rows) {
      at::Tensor x = at::empty({rows, size}, at::kDouble);
      for (std::int64_t i = 0; i < x.numel(); ++i) x.mutable_data_ptr<double>()[i] = normal(engine);
      return x;
    };
    auto const rounded = [](at::Tensor const& x) { return x.to(at::kBFloat16).to(at::kDouble); };
    auto const rows = static_cast<std::int64_t>(probabilities.size());
    weight = rounded(random(vocabulary) / std::sqrt(double{size}));
    targets = at::arange(7, 7 + 11 * rows, 11);
    at::Tensor const noise = random(rows), along = weight.index_select(0, targets);
    at::Tensor const wanted = at::tensor(probabilities, at::kDouble);
    // Along the target's row by as much as the probability takes: halved between too little and too much.
    at::Tensor low = at::zeros({rows, 1}, at::kDouble), high = at::full({rows, 1}, 100.0, at::kDouble);
    for (int i = 0; i < 60; ++i) {
      at::Tensor const middle = (low + high) / 2;
      at::Tensor const p = at::softmax(at::mm(noise + middle * along, weight.t()), -1).gather(-1, targets.unsqueeze(-1));
      at::Tensor const too_much = p > wanted.unsqueeze(-1);
      high = at::where(too_much, middle, high);
      low = at::where(too_much, low, middle);
    }
    hidden = rounded(noise + low * along);
  }
};

double distance(at::Tensor const& x, at::Tensor const& exact) { return (x.to(at::kDouble) - exact).norm().item<double>() / exact.norm().item<double>(); }

}  // namespace

TEST_CASE("a confident token has its gradient in bfloat16 too", "[head]") {
  std::vector<double> const probabilities{0.9, 0.99, 0.999};
  confident_rows const planted(probabilities);
  std::int64_t const vocabulary = planted.weight.size(0), size = planted.weight.size(1);
  for (std::int64_t row = 0; row < planted.hidden.size(0); ++row)
    for (auto const& [type, of_weights] : {std::pair(at::kDouble, at::kDouble), {at::kFloat, at::kFloat}, {at::kFloat, at::kBFloat16}, {at::kBFloat16, at::kBFloat16}})
      for (auto const& [budget, gpu] : {std::pair(std::int64_t{0}, false), {std::int64_t{1} << 20, false}, {0, true}, {std::int64_t{1} << 20, true}}) {
        if (gpu && type != of_weights) continue;  // on a GPU both have one type
        std::optional<gpu_way_on_host> const way = gpu ? std::make_optional<gpu_way_on_host>() : std::nullopt;
        INFO((gpu ? "on a GPU's way, " : "") << "p = " << probabilities[static_cast<std::size_t>(row)] << ", hidden states in " << at::toString(type) << ", weights in " << at::toString(of_weights) << ", " << budget << " bytes kept");
        at::Tensor const h = planted.hidden.narrow(0, row, 1), target = planted.targets.narrow(0, row, 1);
        at::Tensor const weight = planted.weight.to(of_weights), slope = at::full({1}, 0.7, at::kDouble);
        completion_head head(h.to(type), target, 1, 0);
        linear_map map, gradient;
        map.weight = weight;
        gradient.weight = at::zeros({vocabulary, size}, type == at::kDouble ? at::kDouble : at::kFloat);
        at::Tensor const logp = head.forward(map, 128, budget).logp, of_hidden = head.backward(slope, map, gradient);

        at::Tensor const scores = at::mm(h, planted.weight.t()), p = at::softmax(scores, -1);
        CHECK(std::abs(p.gather(-1, target.unsqueeze(-1)).item<double>() - probabilities[static_cast<std::size_t>(row)]) < 0.05 * (1 - probabilities[static_cast<std::size_t>(row)]) + 0.002);
        at::Tensor const residual = -p.scatter_add(-1, target.unsqueeze(-1), at::full({1, 1}, -1, at::kDouble)) * 0.7;
        double const enough = of_weights == at::kBFloat16 ? 5e-3 : of_weights == at::kFloat ? 1e-3 : 1e-10;
        CHECK(std::abs(logp.item<double>() - std::log(p.gather(-1, target.unsqueeze(-1)).item<double>())) < 1e-5);
        CHECK(distance(of_hidden, at::mm(residual, planted.weight)) < enough);
        CHECK(distance(gradient.weight, at::mm(residual.t(), h)) < enough);
      }
}
