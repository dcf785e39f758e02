// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>        // byte, size_t
#include <cstdint>        // uint32_t
#include <filesystem>     // path
#include <functional>     // hash
#include <memory>         // shared_ptr
#include <optional>       // optional
#include <span>           // span
#include <string>         // string
#include <unordered_map>  // unordered_map
#include <vector>         // vector

#include <kedge/llm/formats/checkpoint.hpp>

#include "../base/name_hash.hpp"

namespace kedge::llm {

/// Where a tensor's numbers lie and what has to be done to them to get Hugging Face's.
struct tensor_source {
  std::span<std::byte const> bytes;
  std::optional<dtype> plain;     ///< the number format, where it is one of ours
  std::uint32_t gguf_type = 0;    ///< the block format otherwise
  bool readable = true;           ///< false: of a format that only has a name
  std::int64_t paired_heads = 0;  ///< > 0: rows of each head are stored as (pair, half), wanted as (half, pair)
  float shift = 0;                ///< added in fp32
};

struct checkpoint::storage {
  std::filesystem::path path;
  std::vector<tensor_entry> entries;
  std::vector<tensor_source> sources;  // as entries
  std::unordered_map<std::string, std::size_t, name_hash, std::equal_to<>> index;
  std::vector<std::shared_ptr<void const>> files;  // keep the maps alive

  /// throws  kedge::llm::error if the name is taken
  void add(tensor_entry entry, tensor_source source);
};

/// What the two kinds of container give.
struct opened_checkpoint {
  std::unique_ptr<checkpoint::storage> files;
  nlohmann::ordered_json config, tokenizer, tokenizer_config, generation_config;
  std::string tokenizer_problem;
  template_sources chat_templates;
  std::vector<std::string> notes;
};

opened_checkpoint open_gguf(std::filesystem::path const& file);
enum class weights_are { required, optional };
opened_checkpoint open_folder(std::filesystem::path const& folder, weights_are weights);

}  // namespace kedge::llm
