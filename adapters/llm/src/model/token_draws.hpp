// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <kedge/adapters/torch.hpp>

#include "sampler.hpp"

namespace kedge::llm {

class thread_pool;

/// A token that is to be drawn: from a row of logits, at a place in a text, by a uniform number in [0, 1).
struct wanted_token {
  std::size_t row = 0;
  decoding_place place;
  double uniform = 0;
};

/// Draws tokens as draw_token does, where the logits are if that device has kernels, so that 8 bytes a token come to the host; else here, by the
/// threads. Logits of float64, and top-h, typical-p and the cut-offs epsilon and eta, are always drawn from here.
/// logits: [R, V], at least fp32, rows contiguous; used up
[[nodiscard]] std::vector<token_draw> draw_tokens(at::Tensor const& logits, std::span<wanted_token const> wanted, sampling_settings const& settings,
                                                  thread_pool& threads);

}  // namespace kedge::llm
