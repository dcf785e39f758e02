// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include <kedge/llm/data/fixed_size.hpp>

#include "../adapters/llm/src/model/recorded_passes.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;

namespace {

// Lengths as UltraFeedback's are: log-normal, the median of prompt and one completion 409 tokens, prompt to completion 0.42.
std::vector<preference_pair> long_pairs(std::size_t count) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  auto const text = [&](double median) {
    double const size = std::round(median * std::exp(0.8 * normal(random)));
    return std::vector<std::int32_t>(static_cast<std::size_t>(std::clamp(size, 4.0, 900.0)), 1);
  };
  std::vector<preference_pair> all(count);
  for (preference_pair& pair : all) {
    pair.prompt = text(121);
    pair.chosen = text(288);
    pair.rejected = text(288);
  }
  return all;
}

// Steps of eight pairs, cut into micro-batches of so many tokens.
std::vector<ragged_batch> micro_batches(std::vector<preference_pair> const& pairs, std::size_t tokens) {
  std::vector<std::size_t> order(pairs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::vector<ragged_batch> all;
  for (std::size_t first = 0; first < order.size(); first += 8) {
    auto const step = std::span<std::size_t const>(order).subspan(first, std::min<std::size_t>(8, order.size() - first));
    for (auto const micro : cut_by_tokens(step, tokens, [&](std::size_t i) { return shared_tokens(pairs[i]); }))
      all.push_back(pack_pairs(pairs, micro));
  }
  return all;
}

struct replays {
  std::size_t passes = 0, replayed = 0, unfit = 0;
  std::int64_t tokens = 0, padded_tokens = 0, rows = 0, padded_rows = 0;
  std::set<packed_size> sizes;

  [[nodiscard]] double rate() const { return static_cast<double>(replayed) / static_cast<double>(passes); }
  [[nodiscard]] double more_tokens() const { return static_cast<double>(padded_tokens) / static_cast<double>(tokens) - 1; }
  [[nodiscard]] double more_rows() const { return static_cast<double>(padded_rows) / static_cast<double>(rows) - 1; }
};

replays replay(std::vector<ragged_batch> const& batches) {
  pass_recorder recorder(at::kCPU);
  replays all;
  for (ragged_batch const& batch : batches) {
    packed_size const own = size_of(batch);
    auto const size = size_class(batch);
    ++all.passes;
    all.unfit += size ? 0 : 1;
    all.tokens += own.tokens;
    all.rows += own.rows;
    all.padded_tokens += size.value_or(own).tokens;
    all.padded_rows += size.value_or(own).rows;
    if (!size) continue;
    all.sizes.insert(*size);
    auto const held = recorder.find({}, *size, {});
  }
  all.replayed = recorder.runs;
  return all;
}

}  // namespace

TEST_CASE("nine of ten batches of ragged pairs are of a size that was seen before", "[recorded]") {
  std::vector<preference_pair> const pairs = long_pairs(4096);
  for (std::size_t const tokens : {std::size_t{2048}, std::size_t{100000}}) {  // and a step at once, as on a GPU
    replays const all = replay(micro_batches(pairs, tokens));
    CAPTURE(tokens, all.passes, all.sizes.size(), all.unfit, all.more_tokens(), all.more_rows(), all.rate());
    CHECK(all.rate() >= 0.9);
    CHECK(all.more_tokens() < 0.06);
    CHECK(all.more_rows() < 0.12);
  }
}

TEST_CASE("a size is forgotten when as many others came since, and only then", "[recorded]") {
  pass_recorder recorder(at::kCPU, 3);
  auto const known = [&](std::int64_t tokens) { return recorder.find({}, {.tokens = tokens}, {}) != nullptr; };
  for (std::int64_t const size : {1, 2, 3}) CHECK(!known(size));
  CHECK(known(1));
  CHECK(!known(4));  // 2 goes
  CHECK(known(1));
  CHECK(known(3));
  CHECK(!known(2));  // 4 goes
  CHECK(!known(4));
  CHECK(recorder.runs == 3);
}
