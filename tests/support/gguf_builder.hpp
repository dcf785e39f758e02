// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kedge::testing {

/// Puts a GGUF file together byte by byte, wrong ones too.
class gguf_builder {
 public:
  template <class T>
  static std::string number(T value) {
    return {reinterpret_cast<char const*>(&value), sizeof value};
  }
  static std::string text(std::string const& value) { return number<std::uint64_t>(value.size()) + value; }

  /// A metadata entry of any type, its value as bytes.
  gguf_builder& key(std::string const& name, std::uint32_t type, std::string const& value) {
    keys += text(name) + number(type) + value;
    ++key_count;
    return *this;
  }
  gguf_builder& key(std::string const& name, std::string const& value) { return key(name, 8, text(value)); }
  gguf_builder& key(std::string const& name, std::uint32_t value) { return key(name, 4, number(value)); }
  gguf_builder& key(std::string const& name, float value) { return key(name, 6, number(value)); }
  gguf_builder& key(std::string const& name, std::vector<std::string> const& values) {
    std::string list = number<std::uint32_t>(8) + number<std::uint64_t>(values.size());
    for (auto const& value : values) list += text(value);
    return key(name, 9, list);
  }

  /// `extents` innermost first, as the file has them. The data follow each other at multiples of 32.
  gguf_builder& tensor(std::string const& name, std::vector<std::uint64_t> const& extents, std::uint32_t type,
                       std::string const& bytes) {
    data.resize((data.size() + 31) / 32 * 32);
    return tensor_at(name, extents, type, data.size(), bytes);
  }
  gguf_builder& tensor_at(std::string const& name, std::vector<std::uint64_t> const& extents, std::uint32_t type,
                          std::uint64_t offset, std::string const& bytes) {
    infos += text(name) + number(static_cast<std::uint32_t>(extents.size()));
    for (auto const extent : extents) infos += number(extent);
    infos += number(type) + number(offset);
    data += bytes;
    ++tensor_count;
    return *this;
  }

  std::string file() const {
    std::string out = "GGUF" + number(version) + number(tensor_count) + number(key_count) + keys + infos;
    out.resize((out.size() + 31) / 32 * 32);
    return out + data;
  }

  std::uint32_t version = 3;
  std::uint64_t tensor_count = 0;
  std::uint64_t key_count = 0;
  std::string keys, infos, data;
};

}  // namespace kedge::testing
