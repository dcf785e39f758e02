// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/model/causal_lm.hpp>

namespace kedge::llm {

/// All parameters of a checkpoint as fp32 master weights, in the order of parameters_of().
/// throws  error naming the checkpoint and the tensor that is missing, has another shape than the config says, or holds NaN or infinity
[[nodiscard]] pack load_parameters(checkpoint const& source, transformer_config const& config);

/// A run of numbers of one of them, from number `first` on, in the type of `into`: [n] on the host.
void load_part(checkpoint const& source, parameter const& of, std::int64_t first, at::Tensor const& into);

/// Random parameters, as transformers draws them: matrices from N(0, range²), norms 1 (stored as Gemma does, where it does), biases 0. A seed fixes them, whatever the threads.
[[nodiscard]] pack initial_parameters(transformer_config const& config, double range, std::uint64_t seed);

/// Tokenizer and chat template of `source`, into a folder.
void write_tokenizer(std::filesystem::path const& folder, checkpoint const& source);

/// Writes a Hugging Face folder: weights in `type`, config, tokenizer, template and generation settings of `source`.
/// Every file appears whole or not at all, config.json last: a folder without it is no model yet.
void write_model(std::filesystem::path const& folder, checkpoint const& source, transformer_config const& config,
                 pack const& theta, dtype type);
/// The same of parameters that are asked for one after the other, in any order, each once.
void write_model(std::filesystem::path const& folder, checkpoint const& source, transformer_config const& config,
                 std::function<at::Tensor(std::size_t)> const& parameter, dtype type);

}  // namespace kedge::llm
