// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>        // byte, size_t
#include <cstdint>        // uint32_t, uint64_t, int64_t
#include <filesystem>     // path
#include <functional>     // less
#include <map>            // map
#include <optional>       // optional
#include <span>           // span
#include <string>         // string
#include <string_view>    // string_view
#include <utility>        // pair
#include <variant>        // variant
#include <vector>         // vector

#include <kedge/llm/base/mapped_file.hpp>
#include <kedge/llm/formats/dtype.hpp>

namespace kedge::llm {

/// An array of a GGUF file's metadata: strings, or numbers left where they lie in the file.
struct gguf_array {
  std::uint32_t element_type = 0;  ///< GGUF's number of the element type
  std::size_t size = 0;
  std::span<std::byte const> raw;         ///< numbers, little-endian, unaligned; empty for strings
  std::vector<std::string_view> strings;  ///< views into the mapped file

  /// Numbers as int64 or double. throws kedge::llm::error for strings or nested arrays
  std::vector<std::int64_t> integers() const;
  std::vector<double> reals() const;
};

/// A value of the metadata. Integers of every width are held as int64 (uint64 above 2^63 - 1 is refused).
using gguf_value = std::variant<std::int64_t, double, bool, std::string_view, gguf_array>;

/// One tensor of a GGUF file. `shape` is written outermost first, as in PyTorch (the file stores it innermost first).
struct gguf_tensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::uint32_t type = 0;            ///< ggml's number of the storage type, see gguf_type_name
  std::span<std::byte const> bytes;  ///< empty where the type's size is unknown

  /// Product of the shape.
  std::size_t elements() const noexcept;
};

/// The metadata of a GGUF file, and what of them was asked for.
class gguf_metadata {
 public:
  explicit gguf_metadata(std::filesystem::path path) : path_(std::move(path)) {}

  /// returns false, and adds nothing, for a key that is there
  bool add(std::string_view key, gguf_value value);

  std::filesystem::path const& path() const noexcept { return path_; }
  std::vector<std::pair<std::string, gguf_value>> const& metadata() const noexcept { return metadata_; }

  /// The value of a key, or null. Marks the key as read: not for several threads at once.
  gguf_value const* find(std::string_view key) const;
  /// The same with its type checked: nothing where the key is absent. throws kedge::llm::error where the type differs
  std::optional<std::int64_t> integer(std::string_view key) const;
  std::optional<double> real(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string_view> string(std::string_view key) const;
  gguf_array const* array(std::string_view key) const;

  /// Keys that begin with `prefix` and that nobody asked for, in the file's order.
  std::vector<std::string_view> unread(std::string_view prefix) const;

 private:
  std::filesystem::path path_;
  std::vector<std::pair<std::string, gguf_value>> metadata_;
  std::map<std::string, std::size_t, std::less<>> index_;
  mutable std::vector<bool> read_;
};

/// A model in the GGUF format, versions 2 and 3: metadata and tensors. One file, or, given by any of them, all the parts of a split one,
/// NAME-00001-of-00003.gguf and so on beside each other; the metadata are those of the first. The files stay mapped; a big-endian one
/// is turned into little-endian in memory instead, which takes as much of it as the file is large.
/// throws  kedge::llm::error for anything that does not add up; every count and length is checked against the bytes that are left in
///         the file before it is believed. Of a split model every part has to be there
class gguf_file : public gguf_metadata {
 public:
  explicit gguf_file(std::filesystem::path const& path);

  std::vector<gguf_tensor> const& tensors() const noexcept { return tensors_; }
  bool big_endian() const noexcept { return !turned_.empty(); }

 private:
  class reader;
  std::int64_t read(std::filesystem::path const& path, bool given);  // returns of how many parts it is one
  void read_tensors(reader& in, std::size_t count, std::uint64_t alignment);
  void read_parts(std::int64_t count);

  std::vector<mapped_file> files_;
  std::vector<std::vector<std::byte>> turned_;  // big-endian files as little-endian ones
  std::vector<gguf_tensor> tensors_;
};

/// ggml's name of a storage type ("Q4_1"), or "type 99"; the names of all that kedge decodes to weights; and the type of a name.
std::string gguf_type_name(std::uint32_t type);
std::string gguf_type_names();
std::optional<std::uint32_t> find_gguf_type(std::string_view name);

/// Elements and bytes of one block of a storage type that kedge can decode; nothing for the others.
struct gguf_block {
  std::size_t elements = 0;
  std::size_t bytes = 0;
};
std::optional<gguf_block> gguf_block_of(std::uint32_t type);

/// What decodes one block of a storage type to fp32; null for those without blocks, and those that kedge doesn't know.
using gguf_block_decoder = void (*)(std::uint8_t const* block, float* out);
gguf_block_decoder gguf_decoder_of(std::uint32_t type);

/// The number format of a storage type without blocks (F32, F16, BF16, F64, I8 to I64); nothing for the others.
std::optional<dtype> gguf_plain_type(std::uint32_t type);

/// Turns the order of the bytes of every number in whole blocks: a big-endian file's into little-endian. returns false, and changes
/// nothing, for a type whose big-endian form kedge doesn't know
bool turn_bytes(std::uint32_t type, std::span<std::byte> blocks);

/// Decodes whole blocks to fp32, bit for bit as the Python package `gguf` does.
/// shapes  `in` is k blocks, `out` k · elements floats
/// throws  kedge::llm::error for a type that gguf_block_of does not know, or sizes that do not match
void dequantise(std::uint32_t type, std::span<std::byte const> in, std::span<float> out);

}  // namespace kedge::llm
