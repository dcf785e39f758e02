// SPDX-License-Identifier: Apache-2.0
#include "gguf_writer.hpp"

#include <limits>   // numeric_limits
#include <utility>  // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/gguf.hpp>

#include "gguf_values.hpp"

namespace kedge::llm {
namespace {

constexpr std::size_t alignment = 32;
std::size_t aligned(std::size_t at) { return (at + alignment - 1) / alignment * alignment; }

template <class T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<char const*>(&value), sizeof value);
}
void append_text(std::string& out, std::string_view text) {
  append(out, std::uint64_t{text.size()});
  out += text;
}

}  // namespace

void gguf_header::begin(std::string_view key, std::uint32_t type) {
  append_text(keys_, key);
  append(keys_, type);
  ++key_count_;
}

void gguf_header::put(std::string_view key, std::int64_t value) {
  if (value < 0 || value > std::numeric_limits<std::uint32_t>::max())
    throw error("GGUF can't hold " + std::to_string(value) + " as " + std::string{key});
  begin(key, type_u32);
  append(keys_, static_cast<std::uint32_t>(value));
}
void gguf_header::put(std::string_view key, double value) {
  begin(key, type_f32);
  append(keys_, static_cast<float>(value));
}
void gguf_header::put(std::string_view key, bool value) {
  begin(key, type_bool);
  append(keys_, static_cast<std::uint8_t>(value));
}
void gguf_header::put(std::string_view key, std::string_view value) {
  begin(key, type_string);
  append_text(keys_, value);
}
void gguf_header::put(std::string_view key, std::vector<std::string> const& values) {
  begin(key, type_array);
  append(keys_, std::uint32_t{type_string});
  append(keys_, std::uint64_t{values.size()});
  for (auto const& value : values) append_text(keys_, value);
}
void gguf_header::put(std::string_view key, std::vector<float> const& values) {
  begin(key, type_array);
  append(keys_, std::uint32_t{type_f32});
  append(keys_, std::uint64_t{values.size()});
  for (float const value : values) append(keys_, value);
}
void gguf_header::put(std::string_view key, std::vector<std::int32_t> const& values) {
  begin(key, type_array);
  append(keys_, std::uint32_t{type_i32});
  append(keys_, std::uint64_t{values.size()});
  for (std::int32_t const value : values) append(keys_, value);
}

void gguf_header::add(std::string name, std::vector<std::int64_t> shape, std::uint32_t type) {
  auto const block = gguf_block_of(type);
  if (!block) throw error("the size of tensors of " + gguf_type_name(type) + " is not known");
  std::size_t elements = 1;
  for (auto const extent : shape) elements *= static_cast<std::size_t>(extent);
  tensors_.push_back({std::move(name), std::move(shape), type, elements / block->elements * block->bytes});
}

std::string gguf_header::bytes() {
  std::string out = "GGUF";
  append(out, std::uint32_t{3});
  append(out, std::uint64_t{tensors_.size()});
  append(out, key_count_);
  out += keys_;
  std::size_t offset = 0;
  for (tensor& t : tensors_) {
    append_text(out, t.name);
    append(out, static_cast<std::uint32_t>(t.shape.size()));
    for (std::size_t d = t.shape.size(); d-- > 0;) append(out, static_cast<std::uint64_t>(t.shape[d]));
    append(out, t.type);
    append(out, std::uint64_t{offset});
    t.offset = offset;
    offset = aligned(offset + t.bytes);
  }
  out.resize(aligned(out.size()));
  for (tensor& t : tensors_) t.offset += out.size();
  size_ = out.size() + offset;
  return out;
}

}  // namespace kedge::llm
