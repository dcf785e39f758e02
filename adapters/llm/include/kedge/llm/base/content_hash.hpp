// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kedge::llm {

/// 64 bits of what was added, in order: tells contents apart that differ by accident, and is no protection against intent.
/// cost    one multiplication a word of 8 bytes
class content_hash {
 public:
  void add(std::span<std::byte const> bytes) {
    mix(bytes.size());
    add_words(bytes);
  }
  /// A part of bytes whose size was added before them: whole words, but for the last part.
  void add_words(std::span<std::byte const> bytes) {
    std::size_t i = 0;
    for (; i + sizeof(std::uint64_t) <= bytes.size(); i += sizeof(std::uint64_t)) mix(word(bytes.data() + i, sizeof(std::uint64_t)));
    if (i < bytes.size()) mix(word(bytes.data() + i, bytes.size() - i));
  }
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  template <class T>
    requires std::integral<T> || std::floating_point<T>
  void add(T number) {
    std::byte bytes[sizeof(T)];
    std::memcpy(bytes, &number, sizeof(T));
    mix(word(bytes, sizeof(T)));
  }
  template <class T>
  void add(std::vector<T> const& numbers) {
    add(std::as_bytes(std::span(numbers)));
  }

  /// Sixteen hexadecimal digits.
  [[nodiscard]] std::string text() const;

 private:
  static std::uint64_t word(std::byte const* bytes, std::size_t size) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes, size);
    return value;
  }
  void mix(std::uint64_t value) {
    state_ = (state_ ^ value) * 0x9E3779B97F4A7C15U;
    state_ ^= state_ >> 32U;
  }

  std::uint64_t state_ = 0x243F6A8885A308D3U;
};

/// The hash of what a model is made of: the JSON files and weights of a folder, whatever it is called, or a GGUF file.
/// throws  error if it can't be read
/// cost    one pass over all bytes, some 3 GB/s of what the system holds in memory
[[nodiscard]] std::string hash_of_model(std::filesystem::path const& model);

}  // namespace kedge::llm
