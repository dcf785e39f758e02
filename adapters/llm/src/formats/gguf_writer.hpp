// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>       // size_t
#include <cstdint>       // int64_t, uint32_t
#include <string>        // string
#include <string_view>   // string_view
#include <vector>        // vector

namespace kedge::llm {

/// The part of a GGUF file (version 3, little-endian) that stands before the numbers of its tensors.
class gguf_header {
 public:
  struct tensor {
    std::string name;
    std::vector<std::int64_t> shape;  ///< outermost first
    std::uint32_t type = 0;           ///< ggml's number
    std::size_t bytes = 0;
    std::size_t offset = 0;  ///< from the start of the file; known from bytes()
  };

  // Keys: integers are written as GGUF's uint32, which llama.cpp expects of them.
  void put(std::string_view key, std::int64_t value);
  void put(std::string_view key, double value);
  void put(std::string_view key, bool value);
  void put(std::string_view key, std::string_view value);
  void put(std::string_view key, char const* value) { put(key, std::string_view(value)); }
  void put(std::string_view key, std::vector<std::string> const& values);
  void put(std::string_view key, std::vector<float> const& values);
  void put(std::string_view key, std::vector<std::int32_t> const& values);

  /// throws  kedge::llm::error for a type of unknown size
  void add(std::string name, std::vector<std::int64_t> shape, std::uint32_t type);

  /// Settles where the tensors lie. returns the bytes before the first of them
  std::string bytes();
  [[nodiscard]] std::vector<tensor> const& tensors() const noexcept { return tensors_; }
  /// Bytes of the whole file, after bytes().
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  void begin(std::string_view key, std::uint32_t type);

  std::string keys_;
  std::uint64_t key_count_ = 0;
  std::vector<tensor> tensors_;
  std::size_t size_ = 0;
};

}  // namespace kedge::llm
