// SPDX-License-Identifier: Apache-2.0
#include <utility>  // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/gguf.hpp>

#include "gguf_values.hpp"

namespace kedge::llm {
namespace {

template <class T>
T const* typed(gguf_metadata const& file, std::string_view key, char const* kind) {
  auto const* value = file.find(key);
  if (value == nullptr) return nullptr;
  if (auto const* held = std::get_if<T>(value)) return held;
  throw error(in_quotes(file.path().string()) + ": the metadata key " + in_quotes(key) + " is not " + kind +
              "; the file does not follow the GGUF conventions");
}

template <class T>
std::optional<T> optional_of(T const* value) {
  return value == nullptr ? std::nullopt : std::optional<T>{*value};
}

}  // namespace

std::vector<std::int64_t> gguf_array::integers() const {
  std::vector<std::int64_t> out(size);
  for (std::size_t i = 0; i < size; ++i) {
    auto const* at = raw.data() + i * width_of(element_type);
    switch (element_type) {
      case type_u8:
      case type_bool:
        out[i] = load<std::uint8_t>(at);
        break;
      case type_i8:
        out[i] = load<std::int8_t>(at);
        break;
      case type_u16:
        out[i] = load<std::uint16_t>(at);
        break;
      case type_i16:
        out[i] = load<std::int16_t>(at);
        break;
      case type_u32:
        out[i] = load<std::uint32_t>(at);
        break;
      case type_i32:
        out[i] = load<std::int32_t>(at);
        break;
      case type_u64:
      case type_i64:
        out[i] = load<std::int64_t>(at);
        break;
      default:
        throw error("a GGUF metadata array does not hold integers");
    }
  }
  return out;
}

std::vector<double> gguf_array::reals() const {
  if (element_type != type_f32 && element_type != type_f64) throw error("a GGUF metadata array does not hold reals");
  std::vector<double> out(size);
  for (std::size_t i = 0; i < size; ++i)
    out[i] = element_type == type_f32 ? double{load<float>(raw.data() + 4 * i)} : load<double>(raw.data() + 8 * i);
  return out;
}

bool gguf_metadata::add(std::string_view key, gguf_value value) {
  if (!index_.try_emplace(std::string{key}, metadata_.size()).second) return false;
  metadata_.emplace_back(key, std::move(value));
  read_.push_back(false);
  return true;
}

gguf_value const* gguf_metadata::find(std::string_view key) const {
  auto const position = index_.find(key);
  if (position == index_.end()) return nullptr;
  read_[position->second] = true;
  return &metadata_[position->second].second;
}

std::vector<std::string_view> gguf_metadata::unread(std::string_view prefix) const {
  std::vector<std::string_view> out;
  for (std::size_t i = 0; i < metadata_.size(); ++i)
    if (!read_[i] && metadata_[i].first.starts_with(prefix)) out.push_back(metadata_[i].first);
  return out;
}

std::optional<std::int64_t> gguf_metadata::integer(std::string_view key) const {
  return optional_of(typed<std::int64_t>(*this, key, "an integer"));
}
std::optional<double> gguf_metadata::real(std::string_view key) const {
  return optional_of(typed<double>(*this, key, "a real number"));
}
std::optional<bool> gguf_metadata::boolean(std::string_view key) const {
  return optional_of(typed<bool>(*this, key, "true or false"));
}
std::optional<std::string_view> gguf_metadata::string(std::string_view key) const {
  return optional_of(typed<std::string_view>(*this, key, "a text"));
}
gguf_array const* gguf_metadata::array(std::string_view key) const { return typed<gguf_array>(*this, key, "a list"); }

}  // namespace kedge::llm
