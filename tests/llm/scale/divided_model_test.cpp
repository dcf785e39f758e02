// SPDX-License-Identifier: Apache-2.0

// A model of which each process holds a part: what passes give and gradients become, whatever passes the others make meanwhile.

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <vector>

#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/model/weights.hpp>

#include "../adapters/llm/src/scale/divided_model.hpp"
#include "llm/model/plain_model.hpp"
#include "llm/scale/groups.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;
using namespace kedge::testing;

namespace {

constexpr division both[] = {division::gradients, division::weights};

pack gradient_of(causal_lm const& model, pack const& weights, std::vector<preference_pair> const& pairs, std::vector<std::size_t> const& which,
                 pack gradient) {
  for (std::size_t const i : which) {
    std::size_t const one[] = {i};
    auto [logp, pullback] = model.forward(weights, pack_pairs(pairs, one));
    pullback(std::vector<double>{1.0 + 0.1 * static_cast<double>(i), -0.7}, gradient);
  }
  return gradient;
}

pack zeros_like(pack const& theta) {
  pack zeros;
  for (at::Tensor const& t : theta) zeros.push_back(at::zeros_like(t));
  return zeros;
}

double largest(at::Tensor const& t) { return t.numel() == 0 ? 0 : t.abs().max().item<double>(); }

double distance(pack const& a, pack const& b) {
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, largest(a[i] - b[i]));
  return most;
}

}  // namespace

TEST_CASE("processes with other numbers of passes each end with their parts of the sum of all gradients", "[scale]") {
  std::vector<preference_pair> const pairs = plain::random_pairs(6, 53, 3);
  std::vector<std::vector<std::size_t>> const shares{{0, 1, 2}, {3, 4, 5}, {}};
  for (bool const tied : {true, false})
    for (division const what : both)
      for (int const size : {2, 3}) {
        INFO("tied " << tied << ", " << name_of(what) << ", " << size << " processes");
        transformer_config const config = plain::tiny_config(tied);
        causal_lm const whole(config, {.type = at::kDouble});
        pack const theta = plain::random_parameters(config, at::kDouble, 4);
        std::vector<std::size_t> all;
        for (int r = 0; r < size; ++r) all.insert(all.end(), shares[static_cast<std::size_t>(r)].begin(), shares[static_cast<std::size_t>(r)].end());
        pack const expected = gradient_of(whole, theta, pairs, all, zeros_like(theta));
        in_a_group(size, [&](process_group const& group) {
          at::NoGradGuard const no_grad;
          causal_lm model(config, {.type = at::kDouble});
          divide(model, group, what);
          auto const division = division_of(model);
          pack const weights = division->divides_weights() ? model.weights_for(division->cut(theta)) : model.weights_for(theta);
          pack const gradient = division->zeros(theta.front().options());
          division->collect_in(gradient);
          static_cast<void>(gradient_of(model, weights, pairs, shares[static_cast<std::size_t>(group.rank())], gradient));
          static_cast<void>(group.any(false));
          CHECK(distance(division->cut(expected), gradient) < 1e-12);
        });
      }
}

TEST_CASE("a divided model says what the whole one does bit for bit and is whole again tensor by tensor", "[scale]") {
  std::vector<preference_pair> const pairs = plain::random_pairs(3, 53, 5);
  std::vector<std::size_t> const which{0, 1, 2};
  for (bool const tied : {true, false})
    for (at::ScalarType const type : {at::kFloat, at::kBFloat16}) {
      transformer_config const config = plain::tiny_config(tied);
      causal_lm const whole(config, {.type = type});
      pack const theta = plain::random_parameters(config, at::kFloat, 6), weights = whole.weights_for(theta);
      ragged_batch const batch = pack_pairs(pairs, which);
      std::vector<double> const expected = whole.log_probs(weights, batch);
      in_a_group(3, [&](process_group const& group) {
        at::NoGradGuard const no_grad;
        causal_lm model(config, {.type = type});
        divide(model, group, division::weights);
        auto const division = division_of(model);
        pack const own = model.weights_for(division->cut(theta)), other = model.weights_for(division->cut(zeros_like(theta)));
        // Rank 0 reads one pack, rank 1 the other one and then the first, and rank 2 none of them.
        if (group.rank() == 1) CHECK(model.log_probs(other, batch) != expected);
        if (group.rank() != 2) CHECK(model.log_probs(own, batch) == expected);
        pack const all = model.whole(own);
        for (std::size_t i = 0; i < all.size(); ++i) CHECK(at::equal(all[i], weights[i]));
        group.lead([&] {
          for (std::size_t i = 0; i < weights.size(); ++i) CHECK(at::equal(division->whole(own, i), weights[i]));
          return "";
        });
      });
    }
}

TEST_CASE("a forward pass gathers every number once and a backward pass gathers and sums it once", "[scale]") {
  std::vector<preference_pair> const pairs = plain::random_pairs(1, 53, 7);
  for (bool const tied : {true, false}) {
    transformer_config const config = plain::tiny_config(tied);
    pack const theta = plain::random_parameters(config, at::kDouble, 8);
    in_a_group(2, [&](process_group const& group) {
      at::NoGradGuard const no_grad;
      causal_lm model(config, {.type = at::kDouble});
      divide(model, group, division::weights);
      auto const division = division_of(model);
      std::int64_t bytes = 0, embedding = 0;
      for (bucket const& b : division->layout().buckets()) {
        bytes += 8 * b.size;
        if (b.layer == at_the_end) embedding = 8 * b.size;
      }
      pack const weights = model.weights_for(division->cut(theta));
      pack const gradient = division->zeros(theta.front().options());
      division->collect_in(gradient);
      std::vector<std::size_t> const one{0};
      auto [logp, pullback] = model.forward(weights, pack_pairs(pairs, one));
      CHECK(group.traffic().gathered == bytes);
      pack into = gradient;
      pullback(std::vector<double>{1, -1}, into);
      CHECK(group.traffic().gathered == 2 * bytes - (tied ? 0 : embedding));  // a look-up's gradient reads no weight
      CHECK(group.traffic().summed == bytes);
    });
  }
}

TEST_CASE("parts of tensors are read as cut from whole ones", "[scale]") {
  std::filesystem::path const tiny = std::filesystem::path(KEDGE_TESTS_DIR) / "golden/tiny";
  std::vector<std::filesystem::path> models{tiny / "tied", tiny / "untied", tiny / "linear"};
  if (char const* const gguf = std::getenv("KEDGE_TEST_MODEL")) models.emplace_back(gguf);
  for (std::filesystem::path const& path : models) {
    INFO(path);
    checkpoint const source = checkpoint::open(path);
    transformer_config const config = read_config(source);
    pack const theta = load_parameters(source, config);
    std::vector<parameter> const names = parameters_of(config);
    for (std::size_t i = 0; i < theta.size(); i += models.size() > 3 && i > 30 ? 37 : 1) {
      std::int64_t const n = theta[i].numel();
      for (auto const& [begin, size] : {std::pair{std::int64_t{0}, n}, {n / 3, n / 2}, {n / 2, n - n / 2}, {n - 1, std::int64_t{1}}}) {
        at::Tensor const part = at::empty({size}, at::kFloat);
        load_part(source, names[i], begin, part);
        CHECK(at::equal(part, theta[i].view({-1}).narrow(0, begin, size)));
      }
    }
  }
}
