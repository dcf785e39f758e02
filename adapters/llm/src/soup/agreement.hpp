// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>  // string

#include <kedge/llm/formats/checkpoint.hpp>

namespace kedge::llm {

/// Models of one architecture: `model_type` and `architectures` are equal, where both say them.
/// throws  kedge::llm::error naming the setting, both models and both values
void check_architecture(checkpoint const& a, checkpoint const& b);

/// In which settings of config.json two models differ, of those that shapes of tensors don't tell: rope, heads, activation, special tokens, …
/// "rope_theta (10000 and 5000)", with commas; empty where there are none. Settings that only one of them states are taken to agree.
std::string config_differences(checkpoint const& a, checkpoint const& b);

/// A sentence on a token that has not one id in both, added tokens included; empty where there is none. Models without tokenizer.json agree with all.
/// throws  kedge::llm::error naming the token, both models and both ids if it is a word of the vocabulary itself and not one that was added, unless
///         `allow_mismatch`: then most rows would mean something else
std::string vocabulary_difference(checkpoint const& a, checkpoint const& b, bool allow_mismatch);

}  // namespace kedge::llm
