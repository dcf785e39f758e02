// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/llm/formats/checkpoint.hpp>

namespace kedge::llm {

/// What has to be equal before the numbers of two models mean the same: architecture, widths, heads, rope, vocabulary.
/// Settings that only one of them states are taken to agree. The number of layers and the weights' names and shapes are
/// not looked at here.
/// throws  kedge::llm::error naming the setting, both models and both values
void check_architecture(checkpoint const& a, checkpoint const& b);

/// Every token has one id in both, added tokens included. Models without tokenizer.json agree with all.
/// throws  kedge::llm::error naming a token, both models and both ids
void check_vocabulary(checkpoint const& a, checkpoint const& b);

}  // namespace kedge::llm
