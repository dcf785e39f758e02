// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/model/sampling_settings.hpp>

#include "decoder.hpp"

namespace kedge::llm {

/// One sequence that is continued a token at a time, with its keys and values kept: where the next prompt begins as the last one and its answer did,
/// as in a conversation, only what is new is computed.
class token_stream {
 public:
  /// The model and the weights have to outlive it.
  token_stream(causal_lm const& model, pack const& weights);

  /// Tokens drawn after `prompt` as `settings` say, the stop token included if one ended them. `turn` numbers the random stream.
  /// on_token gets all of them so far after each; it returns false to stop.
  /// throws  error if the prompt is empty, or leaves no position free
  /// cost    2 N operations for each token that is new
  std::vector<std::int32_t> answer(std::vector<std::int32_t> const& prompt, sampling_settings const& settings, std::size_t turn,
                                   std::function<bool(std::span<std::int32_t const>)> const& on_token);

  /// Tokens whose keys and values are kept.
  [[nodiscard]] std::size_t kept() const { return kept_.size(); }

 private:
  [[nodiscard]] at::Tensor append(std::span<std::int32_t const> tokens);

  causal_lm const& model_;
  std::unique_ptr<decoder> decoder_;
  std::vector<std::int32_t> kept_;   // position p lies in page p / page_tokens
  std::vector<std::int32_t> pages_;  // 0, 1, 2 …
};

}  // namespace kedge::llm
