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

struct expert_assembly;

/// Where a tensor's numbers lie and what has to be done to them to get Hugging Face's.
struct tensor_source {
  std::span<std::byte const> bytes;
  std::span<std::byte const> scales{};  ///< of MXFP4 as transformers stores it: an exponent for each 16 of `bytes`
  std::optional<dtype> plain;     ///< the number format, where it is one of ours
  std::uint32_t gguf_type = 0;    ///< the block format otherwise
  bool readable = true;           ///< false: of a format that only has a name
  std::int64_t paired_heads = 0;  ///< > 0: rows of each head are stored as (pair, half), wanted as (half, pair)
  float shift = 0;                ///< added in fp32
  std::shared_ptr<expert_assembly const> experts{};  ///< in place of bytes of its own: it is made of several tensors
};

/// A tensor of all experts of a layer, made of stacks [E, rows, width]: of one, or of those of gate and of up.
struct expert_assembly {
  std::vector<tensor_source> parts;
  std::size_t experts = 0, rows = 0, width = 0;
  bool turned = false;  ///< wanted are [E, width, parts · rows], the parts' rows by turns; else [E, parts · rows, width], part after part
};

/// The numbers of a run of rows of a source that has bytes of its own, `row` the first of them.
void decode(tensor_source const& source, std::size_t row, std::span<float> out);
/// All numbers of an assembly.
void read_experts(expert_assembly const& of, dtype as, std::span<std::byte> out);

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

/// The weights that transformers stores as NAME_blocks and NAME_scales, in their place: NAME, as [E, in, out]. Takes quantization_config
/// out of a config that says so.
/// throws  kedge::llm::error where one of the two is missing, or their shapes don't fit
void join_mxfp4(opened_checkpoint& opened);

opened_checkpoint open_gguf(std::filesystem::path const& file);
enum class weights_are { required, optional };
opened_checkpoint open_folder(std::filesystem::path const& folder, weights_are weights);

}  // namespace kedge::llm
