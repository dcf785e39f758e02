// SPDX-License-Identifier: Apache-2.0
#include "token_draws.hpp"

#include <array>
#include <bit>
#include <cstdint>
#include <tuple>

#include "../base/thread_pool.hpp"
#include "gpu_way.hpp"
#include "launches.hpp"
#include "logit_edits.hpp"
#include "number_lists.hpp"

namespace kedge::llm {
namespace {

template <class Real>
std::vector<token_draw> draw_here(at::Tensor const& logits, std::span<wanted_token const> wanted, sampling_settings const& settings, thread_pool& threads) {
  std::vector<token_draw> drawn(wanted.size());
  auto const V = static_cast<std::size_t>(logits.size(1)), stride = static_cast<std::size_t>(logits.stride(0));
  auto const one = [&](std::size_t i) {
    wanted_token const& w = wanted[i];
    drawn[i] = draw_token(std::span(logits.const_data_ptr<Real>() + w.row * stride, V), settings, w.place, w.uniform);
  };
  // A logit takes an exponential, about ten multiply-adds.
  threads.walk(10 * wanted.size() * V, [&] { threads.each(wanted.size(), one); });
  return drawn;
}

bool has_kernel(at::Tensor const& logits, sampling_settings const& s) {
  auto const cuts = [](double share) { return share > 0 && share < 1; };
  return gpu_kernels(logits.device()) && logits.scalar_type() == at::kFloat && s.top_h <= 0 && s.typical_p >= 1 && !cuts(s.epsilon_cutoff) && !cuts(s.eta_cutoff);
}

// What the kernel reads beside the logits, a row of them for each wanted token, on their device.
struct draw_lists {
  at::Tensor uniforms, edits, edit_starts, rows;
  std::int64_t edit_count = 0;
  bool rows_in_turn = true;

  draw_lists(at::Tensor const& logits, std::span<wanted_token const> wanted, sampling_settings const& settings) {
    using bits = std::array<std::int64_t, sizeof(score_edit) / sizeof(std::int64_t)>;
    std::vector<std::int64_t> of_uniforms, of_edits, starts{0}, of_rows;
    for (wanted_token const& w : wanted) {
      rows_in_turn = rows_in_turn && w.row == of_rows.size();
      of_rows.push_back(static_cast<std::int64_t>(w.row));
      of_uniforms.push_back(std::bit_cast<std::int64_t>(w.uniform));
      if (settings.rules.empty()) continue;
      for (score_edit const& edit : edits_by_token(settings.rules, w.place, static_cast<std::size_t>(logits.size(1)))) {
        bits const words = std::bit_cast<bits>(edit);
        of_edits.insert(of_edits.end(), words.begin(), words.end());
      }
      starts.push_back(static_cast<std::int64_t>(of_edits.size() / std::tuple_size_v<bits>));
    }
    edit_count = starts.back();
    number_lists lists;
    lists.add(of_uniforms, uniforms);
    if (edit_count > 0) {
      lists.add(of_edits, edits);
      lists.add(starts, edit_starts);
    }
    if (!rows_in_turn) lists.add(of_rows, rows);
    lists.send(logits.device());
  }
};

std::vector<token_draw> draw_there(at::Tensor const& logits, std::span<wanted_token const> wanted, sampling_settings const& settings) {
  if (wanted.empty()) return {};
  section const part("sampling");
  draw_lists const lists(logits, wanted, settings);
  // A row from which several tokens are drawn is edited for each.
  at::Tensor const scores = lists.rows_in_turn ? logits : logits.index_select(0, lists.rows);
  auto const n = static_cast<std::int64_t>(wanted.size());
  at::Tensor const drawn = at::empty({2, n}, scores.options().dtype(at::kInt)), originals = at::empty({lists.edit_count}, scores.options());
  {
    launch_mark const mark("kedge::sample", {scores.narrow(0, 0, n), lists.uniforms, lists.edits, originals, drawn});
    gpu_kernels(scores.device())
        ->sample(current_stream(scores.device()), {.rows = n,
                                                   .vocabulary = scores.size(1),
                                                   .stride = scores.stride(0),
                                                   .scores = scores.mutable_data_ptr<float>(),
                                                   .temperature = settings.temperature,
                                                   .top_k = static_cast<std::int64_t>(settings.top_k),
                                                   .top_p = settings.top_p,
                                                   .min_p = settings.min_p,
                                                   .edits = lists.edit_count > 0 ? static_cast<score_edit const*>(lists.edits.const_data_ptr()) : nullptr,
                                                   .edit_starts = lists.edit_count > 0 ? lists.edit_starts.const_data_ptr<std::int64_t>() : nullptr,
                                                   .originals = originals.mutable_data_ptr<float>(),
                                                   .uniform = static_cast<double const*>(lists.uniforms.const_data_ptr()),
                                                   .token = drawn.mutable_data_ptr<std::int32_t>(),
                                                   .logp = static_cast<float*>(drawn.select(0, 1).mutable_data_ptr())});
  }
  at::Tensor const here = drawn.to(at::kCPU);
  std::span const tokens(here.const_data_ptr<std::int32_t>(), wanted.size()), logp(tokens.data() + wanted.size(), wanted.size());
  std::vector<token_draw> all;
  for (std::size_t i = 0; i < wanted.size(); ++i) all.push_back({tokens[i], std::bit_cast<float>(logp[i])});
  return all;
}

}  // namespace

std::vector<token_draw> draw_tokens(at::Tensor const& logits, std::span<wanted_token const> wanted, sampling_settings const& settings,
                                    thread_pool& threads) {
  if (has_kernel(logits, settings)) return draw_there(logits, wanted, settings);
  at::Tensor const here = logits.to(at::kCPU);
  return here.scalar_type() == at::kDouble ? draw_here<double>(here, wanted, settings, threads) : draw_here<float>(here, wanted, settings, threads);
}

}  // namespace kedge::llm
