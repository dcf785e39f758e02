// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/model/config.hpp>

namespace kedge::llm {

/// What a checkpoint calls a parameter: by its own name; without "model.", where the body was saved without its head; or with a
/// prefix, where it is the text model within another. Where there is no such tensor, the parameter's own name.
[[nodiscard]] std::string stored_name(checkpoint const& source, std::string const& parameter);

/// The tensor of an adapter's base for a parameter; a head that was tied begins as the embedding. Empty where there is neither.
[[nodiscard]] std::string base_tensor(checkpoint const& source, std::string const& parameter);

/// Tensors that the model does not read, in the checkpoint's order. Tables of rotary frequencies, which some releases stored, are
/// left out: they follow from the config.
[[nodiscard]] std::vector<std::string> unread_tensors(checkpoint const& source, transformer_config const& config);

/// "3 tensors are not read: a.weight, b.weight, …"; empty where all are.
[[nodiscard]] std::string tell_unread(std::vector<std::string> const& names);

}  // namespace kedge::llm
