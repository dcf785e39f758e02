// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/model/memory_plan.hpp>

namespace kedge::llm {

/// What a checkpoint is: path, family, shapes, parameters, the memory that training would take, stored types, tokenizer, chat
/// template, and a list "problems" of sentences, empty if kedge can train it. Reads headers only, no weights.
/// run: the training whose memory is told
/// gpus: and for GPUs of so many GB, see describe_gpus
[[nodiscard]] nlohmann::ordered_json describe(checkpoint const& source, described_run const& run = {}, std::vector<double> const& gpus = {});

/// As much of it as a config.json alone says.
/// throws  error if the file is no JSON
[[nodiscard]] nlohmann::ordered_json describe_config(std::filesystem::path const& file, described_run const& run = {}, std::vector<double> const& gpus = {});

}  // namespace kedge::llm
