// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <span>

#include "../../adapters/llm/src/kernels/cuda/attention_plan.hpp"
#include "../../adapters/llm/src/kernels/score_edits.hpp"
#include "kernel_checks.hpp"

namespace kedge::gpu_check {
namespace {

using llm::gpu_kernel_table, llm::gpu_sample, llm::gpu_stream;

// Five tokens of each row, whose scores are divided, as a penalty on what stands before does.
constexpr std::int64_t edited_tokens = 5;
at::Tensor penalties(std::int64_t rows, std::int64_t vocabulary) {
  std::vector<llm::score_edit> all;
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t i = 0; i < edited_tokens; ++i)
      all.push_back({static_cast<std::int32_t>((row + i * (vocabulary / edited_tokens)) % vocabulary), llm::score_change::divide, 1.3});
  return bytes(std::span<llm::score_edit const>(all));
}

// scores, uniform numbers, tokens, log-probabilities, edits, where each row's begin, their memory. The scores are edited, so that each launch gets a copy.
kernel_case sample(std::int64_t rows, std::int64_t vocabulary, std::string const& rules, gpu_sample const& as, bool edits = false) {
  tensors const t{random_numbers({rows, vocabulary}) * 2,
                  at::rand({rows}, at::kDouble),
                  at::zeros({rows}, at::kInt),
                  at::zeros({rows}),
                  penalties(rows, vocabulary),
                  at::arange(0, (rows + 1) * edited_tokens, edited_tokens, at::kLong),
                  at::zeros({rows * edited_tokens})};
  kernel_case c{"sample, " + rules, std::to_string(rows) + " × " + std::to_string(vocabulary), t, bytes_of({t[0]}),
                [=](gpu_kernel_table const& k, gpu_stream s, tensors& x) {
                  at::Tensor const scores = x[0].clone();
                  gpu_sample call = as;
                  call.rows = rows;
                  call.vocabulary = call.stride = vocabulary;
                  call.scores = scores.mutable_data_ptr<float>();
                  if (edits) {
                    call.edits = static_cast<llm::score_edit const*>(x[4].const_data_ptr());
                    call.edit_starts = x[5].const_data_ptr<std::int64_t>();
                    call.originals = x[6].mutable_data_ptr<float>();
                  }
                  call.uniform = x[1].const_data_ptr<double>();
                  call.token = x[2].mutable_data_ptr<std::int32_t>();
                  call.logp = x[3].mutable_data_ptr<float>();
                  k.sample(s, call);
                }};
  c.differing = 0.05;  // where a uniform number lies between two tokens up to rounding; log-probabilities of another token aren't held to anything
  return c;
}

struct paged {
  std::int64_t heads, kv_heads, head_dim, page, window;
  float cap;
};

// queries, keys, values, pages, positions, parts, joins, partial results, out. A sequence's queries are its last tokens.
kernel_case attention(std::vector<std::int64_t> const& lengths, std::vector<std::int64_t> const& own, paged const& p, at::ScalarType type) {
  auto const sequences = static_cast<std::int64_t>(lengths.size());
  std::int64_t most = 0, seen = 0;
  std::vector<std::int64_t> of, positions;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    most = std::max(most, (lengths[i] + p.page - 1) / p.page);
    for (std::int64_t at = lengths[i] - own[i]; at < lengths[i]; ++at) {
      of.push_back(static_cast<std::int64_t>(i));
      positions.push_back(at);
    }
    seen += lengths[i];
  }
  llm::attention_plan const plan =
      llm::plan_attention(std::span<std::int64_t const>(of), std::span<std::int64_t const>(positions), p.heads / p.kv_heads);
  auto const queries = static_cast<std::int64_t>(of.size());
  std::int64_t const pages = sequences * most;
  tensors const t{random_numbers({queries, p.heads * p.head_dim}, type),
                  random_numbers({pages * p.page, p.kv_heads * p.head_dim}, type),
                  random_numbers({pages * p.page, p.kv_heads * p.head_dim}, type),
                  at::randperm(pages, at::kLong).view({sequences, most}),
                  at::tensor(positions, at::kLong),
                  bytes(std::span<llm::gpu_attention_part const>(plan.parts)),
                  bytes(std::span<llm::gpu_attention_join const>(plan.joins)),
                  at::zeros({plan.partial_count, p.heads * (p.head_dim + 2)}),
                  at::zeros({queries, p.heads * p.head_dim}, type)};
  double const read = 2.0 * static_cast<double>(seen * p.kv_heads * p.head_dim) * static_cast<double>(t[1].element_size());
  auto const part_count = static_cast<std::int64_t>(plan.parts.size()), join_count = static_cast<std::int64_t>(plan.joins.size());
  return {"paged_attention",
          std::to_string(sequences) + " sequences, " + std::to_string(seen) + " keys, heads of " + std::to_string(p.head_dim) +
              (type == at::kBFloat16 ? " bf16" : " fp32"),
          t,
          read,
          [=, partial_count = plan.partial_count, most_queries = plan.most_queries](gpu_kernel_table const& k, gpu_stream s, tensors& x) {
            k.paged_attention(s, {.heads = p.heads,
                                  .kv_heads = p.kv_heads,
                                  .head_dim = p.head_dim,
                                  .page_tokens = p.page,
                                  .q = llm::matrix_of(x[0]),
                                  .keys = llm::matrix_of(x[1]),
                                  .values = llm::matrix_of(x[2]),
                                  .pages = x[3].const_data_ptr<std::int64_t>(),
                                  .most_pages = most,
                                  .positions = x[4].const_data_ptr<std::int64_t>(),
                                  .parts = static_cast<llm::gpu_attention_part const*>(x[5].const_data_ptr()),
                                  .part_count = part_count,
                                  .most_queries = most_queries,
                                  .joins = static_cast<llm::gpu_attention_join const*>(x[6].const_data_ptr()),
                                  .join_count = join_count,
                                  .partial = x[7].mutable_data_ptr<float>(),
                                  .partial_count = partial_count,
                                  .scale = 1 / std::sqrt(static_cast<float>(p.head_dim)),
                                  .soft_cap = p.cap,
                                  .window = p.window,
                                  .sinks = nullptr,
                                  .out = llm::matrix_of(x[8])});
          },
          1e-3};
}

}  // namespace

std::vector<kernel_case> generation_cases(case_sizes sizes) {
  gpu_sample plain{};
  plain.temperature = plain.top_p = 1;
  gpu_sample greedy = plain, topmost = plain, nucleus = plain, likely = plain;
  greedy.temperature = 0;
  topmost.top_k = 5;
  nucleus.top_p = 0.9;
  likely.min_p = 0.05;
  if (sizes == case_sizes::real)
    return {sample(64, 128256, "temperature", plain), sample(64, 128256, "top-p", nucleus),
            attention(std::vector<std::int64_t>(64, 1000), std::vector<std::int64_t>(64, 1), {32, 8, 64, 16, 0, 0}, at::kBFloat16)};
  std::vector<kernel_case> all;
  for (auto const& [rows, vocabulary] : {std::pair<std::int64_t, std::int64_t>{1, 7}, {61, 501}, {5, 32003}}) {
    for (auto const& [rules, as] : {std::pair{"temperature", plain}, {"greedy", greedy}, {"top-k", topmost}, {"top-p", nucleus}, {"min-p", likely}})
      all.push_back(sample(rows, vocabulary, rules, as));
    all.push_back(sample(rows, vocabulary, "penalties", nucleus, /*edits=*/true));
  }
  for (at::ScalarType const type : {at::kFloat, at::kBFloat16}) {
    all.push_back(attention({1, 17, 40}, {1, 1, 1}, {4, 2, 16, 16, 0, 0}, type));
    all.push_back(attention({33, 5, 100}, {7, 5, 1}, {6, 2, 24, 16, 0, 30}, type));
    all.push_back(attention({300, 90, 1025}, {1, 3, 2}, {4, 4, 64, 16, 20, 0}, type));
  }
  return all;
}

}  // namespace kedge::gpu_check
