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
#include <kedge/llm/text/chat_template.hpp>
#include <kedge/llm/text/tokenizer.hpp>

namespace kedge::llm {

/// A tensor of a checkpoint: Hugging Face's name, shape outermost first, and how it is stored ("BF16", "Q4_1").
struct tensor_entry {
  std::string name;
  std::vector<std::int64_t> shape;
  std::string stored_type;

  /// Product of the shape.
  std::size_t elements() const noexcept;
};

/// A matrix of a GGUF file in blocks, where it lies in the mapped file: row after row, of whole blocks each.
struct stored_blocks {
  std::uint32_t type = 0;            ///< ggml's number of the storage type
  std::span<std::byte const> bytes;
  std::int64_t paired_heads = 0;     ///< > 0: rows of each head lie as (pair, half), and are wanted as (half, pair)
  std::shared_ptr<void const> file;  ///< keeps the bytes where they are
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

  /// What a path names, to read text for it: a model, or an adapter's base with the adapter's own text. A folder's weights may be missing.
  static checkpoint open_text(std::filesystem::path const& model_or_adapter);

  checkpoint(checkpoint&&) noexcept;
  checkpoint& operator=(checkpoint&&) noexcept;
  ~checkpoint();

  /// Takes tokenizer, chat templates and generation settings from an adapter's folder, each where that folder has its own.
  /// throws  kedge::llm::error if a file of the folder is damaged
  void take_text_of(std::filesystem::path const& adapter_folder);

  nlohmann::ordered_json config;             ///< config.json
  nlohmann::ordered_json tokenizer;          ///< tokenizer.json as transformers' AutoTokenizer makes it of all files; null if there is none
  std::string tokenizer_problem;             ///< why there is none
  nlohmann::ordered_json tokenizer_config;   ///< tokenizer_config.json with what special_tokens_map.json and the class add; {} if there is none
  nlohmann::ordered_json generation_config;  ///< generation_config.json, null if there is none
  template_sources chat_templates;           ///< empty if there are none
  std::vector<std::string> notes;            ///< what the files say and isn't used as it stands, or leave out and is filled in: a line each, for people

  std::vector<tensor_entry> const& tensors() const noexcept;
  bool contains(std::string_view name) const;
  /// throws  kedge::llm::error naming the checkpoint and the tensor if there is none of that name
  tensor_entry const& entry(std::string_view name) const;

  /// Reads a tensor as f32, f16, bf16 or f64: decoded or converted, exact where it widens, else rounded to nearest even.
  /// shapes  `out` holds entry(name).elements() elements of `as`, row-major
  /// throws  kedge::llm::error if the storage type cannot be read as a number, or the size of `out` is wrong
  void read(std::string_view name, dtype as, std::span<std::byte> out) const;

  /// The same of a run of its elements, of which no others are decoded but those of the rows that they stand in.
  /// first   the first of them; `out` holds as many as are wanted
  void read_part(std::string_view name, std::size_t first, dtype as, std::span<std::byte> out) const;

  /// The bytes in the mapped file, where the tensor is stored as `as` in this order and aligned for it; else nothing.
  std::optional<std::span<std::byte const>> view(std::string_view name, dtype as) const;

  /// What keeps the bytes of views where they are, beyond this checkpoint.
  std::shared_ptr<void const> files() const;

  /// The blocks of a matrix that a GGUF file holds as such; nothing for plain numbers, for stacks that are put together, and where numbers are shifted.
  std::optional<stored_blocks> blocks(std::string_view name) const;

  std::filesystem::path const& path() const noexcept;

  struct storage;  ///< how the files are held; defined in the library's sources

 private:
  explicit checkpoint(opened_checkpoint&& opened);
  std::unique_ptr<storage> storage_;
};

/// The named special tokens of a tokenizer_config ("bos_token": "<s>", …) as texts, which chat templates get as variables: the seven usual
/// ones, then those of a model's own ("image_token", or names in extra_special_tokens).
/// Tokens written as objects count by their content; names without a token are left out.
nlohmann::ordered_json special_tokens(nlohmann::ordered_json const& tokenizer_config);

/// A checkpoint's tokenizer.
/// rows    of the model's embedding: a text that needs a token beyond is an error; 0: no limit
/// throws  kedge::llm::error if there is none, with the reason, or it is not supported
tokenizer open_tokenizer(checkpoint const& source, std::int64_t rows = 0);

/// A checkpoint's chat templates, if it has any.
/// throws  kedge::llm::error if the only one can't be parsed
std::optional<chat_template> open_chat_template(checkpoint const& source);

/// Where a folder keeps a chat template: chat_template.jinja, or additional_chat_templates/NAME.jinja, whose folder is made.
/// throws  kedge::llm::error for a name that is no file's
std::filesystem::path template_file(std::filesystem::path const& folder, std::string const& name);

/// The base that an adapter's folder names in adapter_config.json, as a path from here or from that folder; none if it is no adapter's folder.
/// throws  kedge::llm::error if it names none, or one that is not there
std::optional<std::filesystem::path> base_of_adapter(std::filesystem::path const& folder);

}  // namespace kedge::llm
