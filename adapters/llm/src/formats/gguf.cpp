// SPDX-License-Identifier: Apache-2.0
#include <algorithm>      // sort
#include <cstring>        // memcpy
#include <limits>         // numeric_limits
#include <unordered_set>  // unordered_set
#include <utility>        // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/formats/gguf.hpp>

namespace kedge::llm {
namespace {

// GGUF's numbers of the metadata types.
enum value_type : std::uint32_t {
  type_u8 = 0,
  type_i8,
  type_u16,
  type_i16,
  type_u32,
  type_i32,
  type_f32,
  type_bool,
  type_string,
  type_array,
  type_u64,
  type_i64,
  type_f64
};

/// Bytes of one value of a fixed-size metadata type, 0 for strings, arrays and unknown types.
std::size_t width_of(std::uint32_t type) {
  switch (type) {
    case type_u8:
    case type_i8:
    case type_bool:
      return 1;
    case type_u16:
    case type_i16:
      return 2;
    case type_u32:
    case type_i32:
    case type_f32:
      return 4;
    case type_u64:
    case type_i64:
    case type_f64:
      return 8;
    default:
      return 0;
  }
}

template <class T>
T load(std::byte const* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

/// Walks through a file's header; nothing is read or reserved before the bytes are known to be there.
class reader {
 public:
  explicit reader(mapped_file const& file) : path_(file.path()), bytes_(file.bytes()) {}

  [[noreturn]] void fail(std::string const& why) const {
    throw error(in_quotes(path_.string()) + ": damaged GGUF file: " + why + "; fetch the file again");
  }

  std::size_t position() const { return at_; }
  std::size_t left() const { return bytes_.size() - at_; }

  std::span<std::byte const> take(std::size_t size, char const* what) {
    if (size > left()) fail(std::string{what} + " reaches beyond the end of the file (truncated?)");
    auto const part = bytes_.subspan(at_, size);
    at_ += size;
    return part;
  }

  template <class T>
  T number(char const* what) {
    return load<T>(take(sizeof(T), what).data());
  }

  /// A count of things of which each takes at least `least` bytes.
  std::size_t count(std::size_t least, char const* what) {
    auto const n = number<std::uint64_t>(what);
    if (n > left() / least) fail(std::string{what} + " is " + std::to_string(n) + ", more than the file can hold");
    return static_cast<std::size_t>(n);
  }

  std::string_view string(char const* what) {
    auto const part = take(count(1, what), what);
    std::string_view const text{reinterpret_cast<char const*>(part.data()), part.size()};
    if (!is_utf8(text)) fail(std::string{what} + " is not UTF-8");
    return text;
  }

  gguf_value value(std::uint32_t type, std::string_view key) {
    if (type == type_string) return string("a text value");
    if (type == type_array) return array(key, 1);
    std::size_t const width = width_of(type);
    if (width == 0) fail("the key " + in_quotes(key) + " has the unknown type " + std::to_string(type));
    return scalar(type, take(width, "a value").data(), key);
  }

 private:
  gguf_value scalar(std::uint32_t type, std::byte const* at, std::string_view key) const {
    switch (type) {
      case type_u8:
        return std::int64_t{load<std::uint8_t>(at)};
      case type_i8:
        return std::int64_t{load<std::int8_t>(at)};
      case type_u16:
        return std::int64_t{load<std::uint16_t>(at)};
      case type_i16:
        return std::int64_t{load<std::int16_t>(at)};
      case type_u32:
        return std::int64_t{load<std::uint32_t>(at)};
      case type_i32:
        return std::int64_t{load<std::int32_t>(at)};
      case type_f32:
        return double{load<float>(at)};
      case type_bool:
        return load<std::uint8_t>(at) != 0;
      case type_i64:
        return load<std::int64_t>(at);
      case type_f64:
        return load<double>(at);
      default:
        break;
    }
    auto const large = load<std::uint64_t>(at);
    if (large > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      fail("the value of " + in_quotes(key) + " is too large");
    return static_cast<std::int64_t>(large);
  }

  gguf_array array(std::string_view key, int depth) {
    constexpr int deepest = 4;
    if (depth > deepest) fail("the key " + in_quotes(key) + " nests arrays too deeply");
    gguf_array out;
    out.element_type = number<std::uint32_t>("an array's type");
    std::size_t const start = at_ + sizeof(std::uint64_t);
    if (out.element_type == type_string) {
      out.size = count(sizeof(std::uint64_t), "an array's length");
      out.strings.reserve(out.size);
      for (std::size_t i = 0; i < out.size; ++i) out.strings.push_back(string("a text value"));
    } else if (out.element_type == type_array) {
      out.size = count(sizeof(std::uint32_t) + sizeof(std::uint64_t), "an array's length");
      for (std::size_t i = 0; i < out.size; ++i) array(key, depth + 1);
      out.raw = bytes_.subspan(start, at_ - start);
    } else {
      std::size_t const width = width_of(out.element_type);
      if (width == 0)
        fail("the key " + in_quotes(key) + " is an array of the unknown type " + std::to_string(out.element_type));
      out.size = count(width, "an array's length");
      out.raw = take(out.size * width, "an array");
    }
    return out;
  }

  std::filesystem::path const& path_;
  std::span<std::byte const> bytes_;
  std::size_t at_ = 0;
};

void read_preamble(reader& in, std::uint32_t& version) {
  auto const magic = in.number<std::uint32_t>("the file's mark");
  if (magic != 0x46554747U) in.fail("it does not begin with 'GGUF'");
  version = in.number<std::uint32_t>("the version");
  if (version != 2 && version != 3)
    in.fail("version " + std::to_string(version) + " is not known (kedge reads versions 2 and 3, little-endian)");
}

/// Name, dimensions, type and offset of one tensor; the bytes are settled once the start of the data is known.
gguf_tensor read_tensor_info(reader& in, std::uint64_t& offset) {
  gguf_tensor tensor;
  tensor.name = in.string("a tensor's name");
  auto const rank = in.number<std::uint32_t>("a tensor's number of dimensions");
  if (rank > 4) in.fail("tensor " + in_quotes(tensor.name) + " has " + std::to_string(rank) + " dimensions");
  tensor.shape.resize(rank);
  std::uint64_t elements = 1;
  for (std::uint32_t d = 0; d < rank; ++d) {
    auto const extent = in.number<std::uint64_t>("a tensor's shape");
    if (extent == 0 || extent > (std::uint64_t{1} << 48U) / elements)
      in.fail("tensor " + in_quotes(tensor.name) + " has an impossible shape");
    elements *= extent;
    tensor.shape[rank - 1 - d] = static_cast<std::int64_t>(extent);
  }
  tensor.type = in.number<std::uint32_t>("a tensor's type");
  offset = in.number<std::uint64_t>("a tensor's offset");
  return tensor;
}

/// The bytes of a tensor that starts at `begin` of the file.
std::span<std::byte const> bytes_of(reader const& in, std::span<std::byte const> file, gguf_tensor const& tensor,
                                    std::uint64_t begin) {
  auto const block = gguf_block_of(tensor.type);
  if (!block) {
    // Its size is not known, but no type takes less than a bit a number.
    if (begin > file.size() || tensor.elements() / 8 > file.size() - begin)
      in.fail("tensor " + in_quotes(tensor.name) + " lies beyond the end of the file (truncated?)");
    return {};
  }
  std::uint64_t const elements = tensor.elements();
  auto const row = tensor.shape.empty() ? 1U : static_cast<std::uint64_t>(tensor.shape.back());
  if (row % block->elements != 0)
    in.fail("the rows of tensor " + in_quotes(tensor.name) + " are no whole blocks of " + gguf_type_name(tensor.type));
  std::uint64_t const size = elements / block->elements * block->bytes;
  if (begin > file.size() || size > file.size() - begin)
    in.fail("tensor " + in_quotes(tensor.name) + " reaches beyond the end of the file (truncated?)");
  return file.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(size));
}

void check_overlap(reader const& in, std::vector<gguf_tensor> const& tensors) {
  std::vector<gguf_tensor const*> order;
  for (auto const& tensor : tensors)
    if (!tensor.bytes.empty()) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](auto a, auto b) { return a->bytes.data() < b->bytes.data(); });
  for (std::size_t i = 1; i < order.size(); ++i)
    if (order[i - 1]->bytes.data() + order[i - 1]->bytes.size() > order[i]->bytes.data())
      in.fail("tensors " + in_quotes(order[i - 1]->name) + " and " + in_quotes(order[i]->name) + " overlap");
}

template <class T>
T const* typed(gguf_file const& file, std::string_view key, char const* kind) {
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

std::size_t gguf_tensor::elements() const noexcept {
  std::size_t n = 1;
  for (auto const extent : shape) n *= static_cast<std::size_t>(extent);
  return n;
}

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

gguf_file::gguf_file(std::filesystem::path const& path) : file_(path) {
  reader in(file_);
  std::uint32_t version = 0;
  read_preamble(in, version);
  std::size_t const tensor_count = in.count(24, "the number of tensors");     // name length, rank, type, offset
  std::size_t const key_count = in.count(13, "the number of metadata keys");  // key length, type, one byte
  metadata_.reserve(key_count);
  for (std::size_t i = 0; i < key_count; ++i) {
    auto const key = in.string("a metadata key");
    if (!index_.try_emplace(key, i).second) in.fail("the metadata key " + in_quotes(key) + " appears twice");
    auto const type = in.number<std::uint32_t>("a metadata type");
    metadata_.emplace_back(std::string{key}, in.value(type, key));
  }
  auto const alignment = integer("general.alignment").value_or(32);
  if (alignment < 8 || alignment % 8 != 0 || alignment > (1 << 20)) in.fail("its alignment is " + std::to_string(alignment));

  std::vector<std::uint64_t> offsets(tensor_count);
  std::unordered_set<std::string_view> names;
  tensors_.reserve(tensor_count);
  for (std::size_t i = 0; i < tensor_count; ++i) {
    tensors_.push_back(read_tensor_info(in, offsets[i]));
    if (!names.insert(tensors_.back().name).second) in.fail("tensor " + in_quotes(tensors_.back().name) + " appears twice");
  }
  auto const step = static_cast<std::uint64_t>(alignment);
  std::uint64_t const start = (in.position() + step - 1) / step * step;
  for (std::size_t i = 0; i < tensor_count; ++i) {
    if (offsets[i] % step != 0 || offsets[i] > file_.bytes().size())
      in.fail("tensor " + in_quotes(tensors_[i].name) + " has an impossible offset");
    tensors_[i].bytes = bytes_of(in, file_.bytes(), tensors_[i], start + offsets[i]);
  }
  check_overlap(in, tensors_);
}

gguf_value const* gguf_file::find(std::string_view key) const {
  auto const position = index_.find(key);
  return position == index_.end() ? nullptr : &metadata_[position->second].second;
}

std::optional<std::int64_t> gguf_file::integer(std::string_view key) const {
  return optional_of(typed<std::int64_t>(*this, key, "an integer"));
}
std::optional<double> gguf_file::real(std::string_view key) const {
  return optional_of(typed<double>(*this, key, "a real number"));
}
std::optional<bool> gguf_file::boolean(std::string_view key) const {
  return optional_of(typed<bool>(*this, key, "true or false"));
}
std::optional<std::string_view> gguf_file::string(std::string_view key) const {
  return optional_of(typed<std::string_view>(*this, key, "a text"));
}
gguf_array const* gguf_file::array(std::string_view key) const { return typed<gguf_array>(*this, key, "a list"); }

}  // namespace kedge::llm
