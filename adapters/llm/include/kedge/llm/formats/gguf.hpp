// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>        // byte, size_t
#include <cstdint>        // uint32_t, uint64_t, int64_t
#include <filesystem>     // path
#include <optional>       // optional
#include <span>           // span
#include <string>         // string
#include <string_view>    // string_view
#include <unordered_map>  // unordered_map
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

/// A GGUF file, versions 2 and 3, little-endian: metadata and tensors. The file stays mapped.
/// throws  kedge::llm::error for anything that does not add up; every count and length is checked against the bytes that
///         are left in the file before it is believed
class gguf_file {
 public:
  explicit gguf_file(std::filesystem::path const& path);

  std::filesystem::path const& path() const noexcept { return file_.path(); }
  std::vector<gguf_tensor> const& tensors() const noexcept { return tensors_; }
  std::vector<std::pair<std::string, gguf_value>> const& metadata() const noexcept { return metadata_; }

  /// The value of a key, or null.
  gguf_value const* find(std::string_view key) const;
  /// The same with its type checked: nothing where the key is absent. throws kedge::llm::error where the type differs
  std::optional<std::int64_t> integer(std::string_view key) const;
  std::optional<double> real(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string_view> string(std::string_view key) const;
  gguf_array const* array(std::string_view key) const;

 private:
  mapped_file file_;
  std::vector<std::pair<std::string, gguf_value>> metadata_;
  std::unordered_map<std::string_view, std::size_t> index_;
  std::vector<gguf_tensor> tensors_;
};

/// ggml's name of a storage type ("Q4_1"), or "type 99".
std::string gguf_type_name(std::uint32_t type);

/// Elements and bytes of one block of a storage type that kedge can decode; nothing for the others.
struct gguf_block {
  std::size_t elements = 0;
  std::size_t bytes = 0;
};
std::optional<gguf_block> gguf_block_of(std::uint32_t type);

/// The number format of a storage type without blocks (F32, F16, BF16, F64); nothing for the others.
std::optional<dtype> gguf_plain_type(std::uint32_t type);

/// Decodes whole blocks to fp32, bit for bit as the Python package `gguf` does.
/// shapes  `in` is k blocks, `out` k · elements floats
/// throws  kedge::llm::error for a type that gguf_block_of does not know, or sizes that do not match
void dequantise(std::uint32_t type, std::span<std::byte const> in, std::span<float> out);

}  // namespace kedge::llm
