// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <fstream>
#include <random>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>

#include "kit.hpp"

namespace kedge::gpu_kit {

void write_pairs(std::filesystem::path const& file, std::int64_t vocabulary, text_lengths const& lengths) {
  std::mt19937_64 random(1);
  auto const below = [&random](std::int64_t n) { return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n)); };
  auto const text = [&](std::int64_t longest) {
    std::string words;
    for (std::int64_t n = longest - below(longest / 4 + 1); n > 0; --n) words += word_of(first_word + below(vocabulary - first_word));
    return words;
  };
  std::string lines;
  for (std::int64_t i = 0; i < lengths.pairs; ++i) {
    json line{{"prompt", text(lengths.prompt)}};
    line["chosen"] = text(lengths.completion);
    line["rejected"] = text(lengths.completion);
    lines += line.dump() + "\n";
  }
  llm::write_file_atomically(file, lines);
}

pair_work work_of(std::filesystem::path const& pairs) {
  std::ifstream in(pairs);
  if (!in) throw llm::error(pairs.string() + ": can't be read");
  pair_work sum;
  double count = 0;
  for (std::string line; std::getline(in, line); ++count) {
    json const pair = json::parse(line);
    auto const tokens = [&pair](char const* key) {
      auto const& text = pair.at(key).get_ref<std::string const&>();
      return static_cast<double>(std::count(text.begin(), text.end(), ' '));
    };
    auto const causal = [](double n) { return n * (n + 1) / 2; };
    double const prompt = tokens("prompt");
    sum.tokens += prompt;
    sum.seen += causal(prompt);
    for (char const* const key : {"chosen", "rejected"}) {
      double const own = tokens(key) + 1;
      sum.tokens += own;
      sum.rows += own;
      sum.seen += prompt * own + causal(own);
    }
  }
  if (count == 0) throw llm::error(pairs.string() + ": no pairs");
  return {sum.tokens / count, sum.rows / count, sum.seen / count};
}

double operations_of(llm::transformer_config const& c, pair_work const& work, bool adapter) {
  auto const head = static_cast<double>(c.vocabulary * c.hidden);
  double const body = static_cast<double>(llm::parameter_count(c)) - head * (c.tied_embeddings ? 1 : 2);
  return (adapter ? 4 : 6) * (body * work.tokens + head * work.rows) + 12 * work.seen * static_cast<double>(c.layers * c.heads * c.head_dim);
}

}  // namespace kedge::gpu_kit
