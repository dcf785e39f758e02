// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>      // byte
#include <cstdint>      // int64_t
#include <filesystem>   // path
#include <memory>       // unique_ptr
#include <optional>     // optional
#include <span>         // span
#include <string>       // string
#include <string_view>  // string_view
#include <vector>       // vector

#include <nlohmann/json.hpp>

#include <kedge/llm/formats/dtype.hpp>

namespace kedge::llm {

/// A tensor of a checkpoint: Hugging Face's name, shape outermost first, and how it is stored ("BF16", "Q4_1").
struct tensor_entry {
  std::string name;
  std::vector<std::int64_t> shape;
  std::string stored_type;

  /// Product of the shape.
  std::size_t elements() const noexcept;
};

struct opened_checkpoint;  ///< what the two kinds of container give; defined in the library's sources

/// A model on disk as Hugging Face would spell it, whatever the container: a folder with config.json and safetensors (one
/// file, or shards with their index), or one GGUF file, whose metadata become config.json, tokenizer.json and
/// tokenizer_config.json, and whose tensors get Hugging Face's names and, for Llama, its order of query and key rows.
///
/// Movable; keeps the files mapped. Reading is const and may run in many threads at once.
class checkpoint {
 public:
  /// throws  kedge::llm::error if the path holds no model, or any file of it is damaged. Weights are not read yet
  /// cost    headers, config and tokenizer are parsed; tensors are only mapped
  static checkpoint open(std::filesystem::path const& folder_or_gguf);

  /// The same, but the folder may be without weights: a description, to start a model from random numbers.
  static checkpoint open_description(std::filesystem::path const& folder);

  checkpoint(checkpoint&&) noexcept;
  checkpoint& operator=(checkpoint&&) noexcept;
  ~checkpoint();

  nlohmann::ordered_json config;             ///< config.json
  nlohmann::ordered_json tokenizer;          ///< tokenizer.json, null if there is none
  nlohmann::ordered_json tokenizer_config;   ///< tokenizer_config.json, {} if there is none
  nlohmann::ordered_json generation_config;  ///< generation_config.json, null if there is none
  std::string chat_template;                 ///< the template's source, "" if there is none
  std::vector<std::string> notes;            ///< what the files say and isn't used, or leave out and is filled in: a sentence each, for people

  std::vector<tensor_entry> const& tensors() const noexcept;
  bool contains(std::string_view name) const;
  /// throws  kedge::llm::error naming the checkpoint and the tensor if there is none of that name
  tensor_entry const& entry(std::string_view name) const;

  /// Reads a tensor as f32, f16, bf16 or f64: decoded or converted, exact where it widens, else rounded to nearest even.
  /// shapes  `out` holds entry(name).elements() elements of `as`, row-major
  /// throws  kedge::llm::error if the storage type cannot be read as a number, or the size of `out` is wrong
  void read(std::string_view name, dtype as, std::span<std::byte> out) const;

  /// The bytes in the mapped file, where the tensor is stored as `as` in this order and aligned for it; else nothing.
  std::optional<std::span<std::byte const>> view(std::string_view name, dtype as) const;

  std::filesystem::path const& path() const noexcept;

  struct storage;  ///< how the files are held; defined in the library's sources

 private:
  explicit checkpoint(opened_checkpoint&& opened);
  std::unique_ptr<storage> storage_;
};

/// The named special tokens of a tokenizer_config ("bos_token": "<s>", …) as texts, which chat templates get as variables.
/// Tokens written as objects count by their content; names without a token are left out.
nlohmann::ordered_json special_tokens(nlohmann::ordered_json const& tokenizer_config);

}  // namespace kedge::llm
