// SPDX-License-Identifier: Apache-2.0

// How parameters lie in buckets, and what of them a process owns.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "../adapters/llm/src/model/side_by_side.hpp"
#include "../adapters/llm/src/scale/buckets.hpp"
#include "llm/model/plain_model.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;

namespace {

std::vector<int> times_owned(bucket_layout const& layout, pack const& theta, int processes) {
  std::vector<int> times(static_cast<std::size_t>(elements_of(theta)));
  std::vector<std::int64_t> first{0};
  for (at::Tensor const& t : theta) first.push_back(first.back() + t.numel());
  for (int rank = 0; rank < processes; ++rank)
    for (tensor_part const& part : layout.share(rank))
      for (std::int64_t i = 0; i < part.size; ++i) ++times[static_cast<std::size_t>(first[part.tensor] + part.begin + i)];
  return times;
}

}  // namespace

TEST_CASE("every number of a model is owned once and buckets are cut evenly where memory is aligned", "[scale]") {
  for (bool const tied : {true, false}) {
    transformer_config const config = plain::tiny_config(tied);
    std::vector<parameter> const names = parameters_of(config);
    pack const theta = plain::random_parameters(config, at::kFloat, 1);
    for (int const processes : {1, 2, 3, 7, 64}) {
      INFO(processes << " processes");
      bucket_layout const layout(names, theta, processes);
      std::vector<int> const times = times_owned(layout, theta, processes);
      CHECK(std::all_of(times.begin(), times.end(), [](int n) { return n == 1; }));
      for (bucket const& b : layout.buckets()) {
        CHECK(b.size % (16 * processes) == 0);
        for (tensor_part const& place : b.places) CHECK(place.begin % 16 == 0);
      }
      if (processes > 1)
        for (int rank = 0; rank < processes; ++rank)
          for (tensor_part const& part : layout.share(rank)) CHECK(part.begin % 16 == 0);
    }
  }
}

TEST_CASE("one process owns all in the order of the pack", "[scale]") {
  transformer_config const config = plain::tiny_config(false);
  pack const theta = plain::random_parameters(config, at::kFloat, 1);
  bool const same = bucket_layout(parameters_of(config), theta, 1).share(0) == whole(theta);
  CHECK(same);
}

TEST_CASE("buckets come in the order in which a backward pass completes them and the embedding waits alone", "[scale]") {
  transformer_config const config = plain::tiny_config(true);
  std::vector<parameter> const names = parameters_of(config);
  bucket_layout const layout(names, plain::random_parameters(config, at::kFloat, 1), 2);
  REQUIRE(layout.buckets().size() > 2);
  std::int64_t before = std::numeric_limits<std::int64_t>::max();
  for (bucket const& b : layout.buckets()) {
    CHECK(b.layer <= before);
    before = b.layer;
  }
  bucket const& last = layout.buckets().back();
  REQUIRE(last.places.size() == 1);
  CHECK(names[last.places.front().tensor].name == "model.embed_tokens.weight");
}

TEST_CASE("weights that read the same input lie side by side whatever the number of processes", "[scale]") {
  transformer_config const config = plain::tiny_config(true);
  std::vector<parameter> const names = parameters_of(config);
  pack const theta = plain::random_parameters(config, at::kFloat, 2);
  for (int const processes : {1, 2, 5}) {
    bucketed_pack const all = bucket_layout(names, theta, processes).zeros(theta);
    std::size_t together = 0;
    for (auto const& kin : kin_of(names)) {
      if (kin.size() == 1 || theta[kin.front()].numel() % place_elements != 0) continue;
      pack parts;
      for (std::size_t const i : kin) parts.push_back(all.tensors[i]);
      CHECK(side_by_side(parts, 0).defined());
      ++together;
    }
    CHECK(together > 0);
  }
}

TEST_CASE("what is trained beside a model has its place in the buckets", "[scale]") {
  transformer_config const config = plain::tiny_config(true);
  pack theta = plain::random_parameters(config, at::kFloat, 4);
  for (at::Tensor const& other : plain::random_parameters(config, at::kFloat, 5)) theta.push_back(other);
  for (int const processes : {1, 3}) {
    bucket_layout const layout(parameters_of(config), theta, processes);
    std::vector<int> const times = times_owned(layout, theta, processes);
    CHECK(std::all_of(times.begin(), times.end(), [](int n) { return n == 1; }));
    pack moved = theta;
    static_cast<void>(layout.take(moved));
    for (std::size_t i = 0; i < theta.size(); ++i) CHECK(at::equal(moved[i], theta[i]));
  }
}

TEST_CASE("a pack that is put into buckets keeps its numbers and lies in them", "[scale]") {
  transformer_config const config = plain::tiny_config(false);
  pack const theta = plain::random_parameters(config, at::kDouble, 3);
  bucket_layout const layout(parameters_of(config), theta, 3);
  pack moved = theta;
  pack const buckets = layout.take(moved);
  for (std::size_t i = 0; i < theta.size(); ++i) {
    CHECK(at::equal(moved[i], theta[i]));
    CHECK_FALSE(moved[i].is_alias_of(theta[i]));
  }
  for (at::Tensor const& b : buckets) b.fill_(2);
  for (at::Tensor const& t : moved) CHECK(t.eq(2).all().item<bool>());
  bucketed_pack const zeros = layout.zeros(theta);
  for (std::size_t i = 0; i < theta.size(); ++i) CHECK(zeros.tensors[i].sizes() == theta[i].sizes());
}

TEST_CASE("a part of a matrix is a matrix and a whole tensor is itself", "[scale]") {
  pack const theta{at::arange(12, at::kDouble).view({3, 4}), at::arange(5, at::kDouble)};
  pack const parts = parts_of(theta, {{0, 2, 7}, {1, 1, 3}});
  CHECK(at::equal(parts[0], at::arange(2, 9, at::kDouble).view({1, 7})));
  CHECK(at::equal(parts[1], at::arange(1, 4, at::kDouble)));
  parts[0].zero_();
  CHECK(theta[0].sum().item<double>() == 0 + 1 + 9 + 10 + 11);
  CHECK(parts_of(theta, whole(theta))[0].is_same(theta[0]));
}
