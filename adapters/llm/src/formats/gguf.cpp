// SPDX-License-Identifier: Apache-2.0
#include <algorithm>      // all_of, reverse, sort
#include <limits>         // numeric_limits
#include <unordered_set>  // unordered_set
#include <utility>        // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/formats/gguf.hpp>

#include "gguf_values.hpp"

namespace kedge::llm {

namespace {

constexpr std::uint32_t mark = 0x46554747U, turned_mark = 0x47475546U;  // "GGUF"

}  // namespace

/// Walks through a file's header; nothing is read or reserved before the bytes are known to be there.
class gguf_file::reader {
 public:
  /// turned: a copy of the file, whose numbers are turned into little-endian as they are met; empty for a file that is so already.
  reader(std::filesystem::path const& path, std::span<std::byte const> bytes, std::span<std::byte> turned)
      : path_(path), bytes_(bytes), turned_(turned) {}

  [[noreturn]] void fail(std::string const& why) const {
    throw error(in_quotes(path_.string()) + ": damaged GGUF file: " + why + "; fetch the file again");
  }

  void preamble() {
    auto const magic = number<std::uint32_t>("the file's mark");
    if (magic != mark && magic != turned_mark) fail("it does not begin with 'GGUF'");
    auto const version = number<std::uint32_t>("the version");
    if (version != 2 && version != 3) fail("version " + std::to_string(version) + " is not known (kedge reads versions 2 and 3)");
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
    return load<T>(numbers(1, sizeof(T), what).data());
  }

  /// Some numbers of `width` bytes, little-endian.
  std::span<std::byte const> numbers(std::size_t count, std::size_t width, char const* what) {
    auto const part = take(count * width, what);
    if (turned_.empty()) return part;
    auto const words = turned_.subspan(at_ - part.size(), part.size());
    for (std::size_t i = 0; i < words.size(); i += width) {
      auto const word = words.subspan(i, width);
      std::reverse(word.begin(), word.end());
    }
    return part;
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
    return scalar(type, numbers(1, width, "a value").data(), key);
  }

  /// Name, dimensions, type and offset of one tensor; the bytes are settled once the start of the data is known.
  gguf_tensor tensor_info(std::uint64_t& offset) {
    gguf_tensor tensor;
    tensor.name = string("a tensor's name");
    auto const rank = number<std::uint32_t>("a tensor's number of dimensions");
    if (rank > 4) fail("tensor " + in_quotes(tensor.name) + " has " + std::to_string(rank) + " dimensions");
    tensor.shape.resize(rank);
    std::uint64_t elements = 1;
    for (std::uint32_t d = 0; d < rank; ++d) {
      auto const extent = number<std::uint64_t>("a tensor's shape");
      if (extent == 0 || extent > (std::uint64_t{1} << 48U) / elements)
        fail("tensor " + in_quotes(tensor.name) + " has an impossible shape");
      elements *= extent;
      tensor.shape[rank - 1 - d] = static_cast<std::int64_t>(extent);
    }
    tensor.type = number<std::uint32_t>("a tensor's type");
    offset = number<std::uint64_t>("a tensor's offset");
    return tensor;
  }

  /// The bytes of a tensor that starts at `begin`, as they are decoded; none for a type whose size is not known.
  std::span<std::byte const> bytes_of(gguf_tensor const& tensor, std::uint64_t begin) {
    auto const block = gguf_block_of(tensor.type);
    std::uint64_t const elements = tensor.elements(), left = begin > bytes_.size() ? 0 : bytes_.size() - begin;
    // No type takes less than a bit a number.
    if (!block && (left == 0 || elements / 8 > left)) fail("tensor " + in_quotes(tensor.name) + " lies beyond the end of the file (truncated?)");
    if (!block) return {};
    auto const row = tensor.shape.empty() ? 1U : static_cast<std::uint64_t>(tensor.shape.back());
    if (row % block->elements != 0)
      fail("the rows of tensor " + in_quotes(tensor.name) + " are no whole blocks of " + gguf_type_name(tensor.type));
    std::uint64_t const size = elements / block->elements * block->bytes;
    if (begin > bytes_.size() || size > left) fail("tensor " + in_quotes(tensor.name) + " reaches beyond the end of the file (truncated?)");
    auto const from = static_cast<std::size_t>(begin), length = static_cast<std::size_t>(size);
    if (!turned_.empty() && !turn_bytes(tensor.type, turned_.subspan(from, length)))
      throw error(in_quotes(path_.string()) + ": the file is big-endian, and how " + gguf_type_name(tensor.type) +
                  " lies in such a file is not known to kedge; use a little-endian file");
    return bytes_.subspan(from, length);
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
      out.raw = numbers(out.size, width, "an array");
    }
    return out;
  }

  std::filesystem::path const& path_;
  std::span<std::byte const> bytes_;
  std::span<std::byte> turned_;
  std::size_t at_ = 0;
};
namespace {

/// The versions are small: a big-endian one has its lower two bytes empty.
bool is_big_endian(std::span<std::byte const> file) {
  return file.size() >= 8 && load<std::uint32_t>(file.data()) == mark && load<std::uint32_t>(file.data() + 4) != 0 &&
         load<std::uint16_t>(file.data() + 4) == 0;
}

void check_overlap(std::filesystem::path const& path, std::vector<gguf_tensor> const& tensors) {
  std::vector<gguf_tensor const*> order;
  for (auto const& tensor : tensors)
    if (!tensor.bytes.empty()) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](auto a, auto b) { return a->bytes.data() < b->bytes.data(); });
  for (std::size_t i = 1; i < order.size(); ++i)
    if (order[i - 1]->bytes.data() + order[i - 1]->bytes.size() > order[i]->bytes.data())
      throw error(in_quotes(path.string()) + ": damaged GGUF file: tensors " + in_quotes(order[i - 1]->name) + " and " +
                  in_quotes(order[i]->name) + " overlap; fetch the file again");
}

void check_names(std::filesystem::path const& path, std::vector<gguf_tensor> const& tensors) {
  std::unordered_set<std::string_view> names;
  for (auto const& tensor : tensors)
    if (!names.insert(tensor.name).second)
      throw error(in_quotes(path.string()) + ": damaged GGUF file: tensor " + in_quotes(tensor.name) + " appears twice; fetch the file again");
}

constexpr std::string_view part_suffix = "-00000-of-00000.gguf";

/// The name of part `number`, from 1, of the `count` parts of which one is called `name`; that name itself where it is no part's.
std::string part_name(std::string const& name, std::int64_t number, std::int64_t count) {
  auto const five = [](std::int64_t n) { return std::to_string(100000 + n).substr(1); };
  if (name.size() <= part_suffix.size()) return name;
  return name.substr(0, name.size() - part_suffix.size()) + "-" + five(number) + "-of-" + five(count) + ".gguf";
}

/// A part's name says which it is, as its metadata do: by it the others are found.
void check_place(std::filesystem::path const& path, std::int64_t part, std::int64_t count) {
  if (count == 1) return;
  if (count < 1 || count > 99999 || part < 0 || part >= count)
    throw error(in_quotes(path.string()) + ": it is part " + std::to_string(part) + " of " + std::to_string(count) +
                " (split.no, split.count); the file is damaged");
  std::string const name = path.filename().string();
  if (name.size() <= part_suffix.size() || part_name(name, part + 1, count) != name)
    throw error(in_quotes(path.string()) + ": it is one of " + std::to_string(count) + " parts of a model and has to be called " +
                part_name("NAME" + std::string{part_suffix}, part + 1, count) + ", so that the others are found");
}

}  // namespace

std::size_t gguf_tensor::elements() const noexcept {
  std::size_t n = 1;
  for (auto const extent : shape) n *= static_cast<std::size_t>(extent);
  return n;
}

gguf_file::gguf_file(std::filesystem::path const& path) : gguf_metadata(path) {
  auto const count = read(path, true);
  if (count > 1) read_parts(count);
  check_names(path, tensors_);
  check_overlap(path, tensors_);
}

std::int64_t gguf_file::read(std::filesystem::path const& path, bool given) {
  auto const& bytes = files_.emplace_back(path).bytes();
  bool const turned = is_big_endian(bytes);
  if (turned) turned_.emplace_back(bytes.begin(), bytes.end());
  reader in(path, turned ? std::span<std::byte const>(turned_.back()) : bytes, turned ? std::span(turned_.back()) : std::span<std::byte>());
  in.preamble();
  std::size_t const tensor_count = in.count(24, "the number of tensors");     // name length, rank, type, offset
  std::size_t const key_count = in.count(13, "the number of metadata keys");  // key length, type, one byte
  gguf_metadata own(path);
  for (std::size_t i = 0; i < key_count; ++i) {
    auto const key = in.string("a metadata key");
    auto const type = in.number<std::uint32_t>("a metadata type");
    if (!own.add(key, in.value(type, key))) in.fail("the metadata key " + in_quotes(key) + " appears twice");
  }
  auto const alignment = own.integer("general.alignment").value_or(32);
  if (alignment < 8 || alignment % 8 != 0 || alignment > (1 << 20)) in.fail("its alignment is " + std::to_string(alignment));
  read_tensors(in, tensor_count, static_cast<std::uint64_t>(alignment));
  auto const part = own.integer("split.no").value_or(0), count = own.integer("split.count").value_or(1);
  check_place(path, part, count);
  if (given || part == 0) static_cast<gguf_metadata&>(*this) = std::move(own);
  return count;
}

void gguf_file::read_tensors(reader& in, std::size_t count, std::uint64_t alignment) {
  std::vector<std::uint64_t> offsets(count);
  std::size_t const before = tensors_.size();
  tensors_.reserve(before + count);
  for (std::size_t i = 0; i < count; ++i) tensors_.push_back(in.tensor_info(offsets[i]));
  std::uint64_t const start = (in.position() + alignment - 1) / alignment * alignment;
  for (std::size_t i = 0; i < count; ++i) {
    gguf_tensor& tensor = tensors_[before + i];
    if (offsets[i] % alignment != 0 || offsets[i] > files_.back().bytes().size())
      in.fail("tensor " + in_quotes(tensor.name) + " has an impossible offset");
    tensor.bytes = in.bytes_of(tensor, start + offsets[i]);
  }
}

void gguf_file::read_parts(std::int64_t count) {
  std::filesystem::path const given = path();
  for (std::int64_t number = 1; number <= count; ++number) {
    auto const part = given.parent_path() / part_name(given.filename().string(), number, count);
    if (part == given) continue;
    if (!std::filesystem::exists(part))
      throw error(in_quotes(part.string()) + ": part " + std::to_string(number) + " of " + std::to_string(count) +
                  " of the model is not there; put all parts into one folder");
    if (read(part, false) != count) throw error(in_quotes(part.string()) + ": it is no part of the model of " + in_quotes(given.string()));
  }
  auto const total = integer("split.tensors.count");
  if (total && *total != static_cast<std::int64_t>(tensors_.size()))
    throw error(in_quotes(given.string()) + ": its parts hold " + std::to_string(tensors_.size()) + " tensors, not " +
                std::to_string(*total) + " (split.tensors.count); fetch them again");
}

}  // namespace kedge::llm
