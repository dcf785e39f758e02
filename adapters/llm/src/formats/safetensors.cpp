// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // sort
#include <array>      // array
#include <cstdio>     // snprintf
#include <cstring>    // memcpy
#include <numeric>    // iota
#include <set>        // set
#include <utility>    // move

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/formats/safetensors.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

constexpr std::uint64_t longest_header = 100'000'000;

/// Bits of an element of every type the format names.
std::optional<std::uint64_t> bits_of(std::string_view type) {
  static constexpr std::array<std::pair<std::string_view, std::uint64_t>, 22> known{
      {{"F64", 64},    {"F32", 32},    {"F16", 16},    {"BF16", 16},   {"I64", 64},        {"I32", 32},
       {"I16", 16},    {"I8", 8},      {"U64", 64},    {"U32", 32},    {"U16", 16},        {"U8", 8},
       {"BOOL", 8},    {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
       {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4},      {"C64", 64}}};
  for (auto const& [name, bits] : known)
    if (name == type) return bits;
  return std::nullopt;
}

class header_reader {
 public:
  explicit header_reader(mapped_file const& file) : file_(file) {}

  [[noreturn]] void fail(std::string const& why) const {
    throw error(in_quotes(file_.path().string()) + ": damaged safetensors file: " + why + "; fetch the file again");
  }

  json header() {
    auto const bytes = file_.bytes();
    std::uint64_t length = 0;
    if (bytes.size() < sizeof length) fail("it is only " + std::to_string(bytes.size()) + " bytes long");
    std::memcpy(&length, bytes.data(), sizeof length);
    if (length > longest_header || length > bytes.size() - sizeof length)
      fail("its header claims " + std::to_string(length) + " bytes, but the file has " + std::to_string(bytes.size()));
    auto const text = file_.text().substr(sizeof length, static_cast<std::size_t>(length));
    if (!text.starts_with('{')) fail("its header does not begin with '{'");
    data_ = bytes.subspan(sizeof length + static_cast<std::size_t>(length));
    auto header = parse_json(text, in_quotes(file_.path().string()) + ": damaged safetensors header",
                             {.depth = 3, .array = 64, .unique_keys = true});
    return header;
  }

  std::map<std::string, std::string> metadata(json const& value) const {
    std::map<std::string, std::string> out;
    if (value.is_null()) return out;  // as some writers leave it
    if (!value.is_object()) fail("__metadata__ is not an object");
    for (auto const& [key, text] : value.items()) {
      if (!text.is_string()) fail("__metadata__ holds something other than texts");
      out.emplace(key, text.get<std::string>());
    }
    return out;
  }

  safetensors_entry tensor(std::string const& name, json const& value) const {
    std::string const what = "tensor " + in_quotes(name);
    if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") || !value.contains("data_offsets"))
      fail(what + " lacks dtype, shape or data_offsets");
    json const& type = value.at("dtype");
    auto const bits = type.is_string() ? bits_of(type.get_ref<std::string const&>()) : std::nullopt;
    if (!bits) fail(what + " has the unknown dtype " + in_quotes(type.dump()));
    safetensors_entry out{name, type.get<std::string>(), find_dtype(type.get_ref<std::string const&>()), {}, {}};
    out.shape = shape(what, value.at("shape"));
    auto const [begin, end] = offsets(what, value.at("data_offsets"));
    out.bytes = data_.subspan(begin, end - begin);
    if (size(what, out.shape, *bits) != end - begin)
      fail(what + " spans " + std::to_string(end - begin) + " bytes, which its shape and dtype contradict");
    return out;
  }

  /// Byte ranges have to follow each other from the start of the data to the end of the file.
  void check_cover(std::vector<safetensors_entry> const& tensors) const {
    auto const* expected = data_.data();
    for (auto const& t : tensors) {
      if (t.bytes.data() != expected) fail("the bytes of tensor " + in_quotes(t.name) + " overlap others or leave a hole");
      expected += t.bytes.size();
    }
    auto const used = static_cast<std::size_t>(expected - data_.data());
    if (used != data_.size())
      fail("its tensors take " + std::to_string(used) + " bytes, but the file holds " + std::to_string(data_.size()));
  }

 private:
  std::vector<std::int64_t> shape(std::string const& what, json const& value) const {
    std::vector<std::int64_t> out;
    if (!value.is_array()) fail(what + " has a shape that is not a list");
    for (auto const& extent : value) {
      if (!extent.is_number_unsigned() || extent.get<std::uint64_t>() > (std::uint64_t{1} << 62U))
        fail(what + " has an impossible shape");
      out.push_back(extent.get<std::int64_t>());
    }
    return out;
  }

  std::pair<std::size_t, std::size_t> offsets(std::string const& what, json const& value) const {
    if (!value.is_array() || value.size() != 2 || !value[0].is_number_unsigned() || !value[1].is_number_unsigned())
      fail(what + " has data_offsets that are not two numbers");
    auto const begin = value[0].get<std::uint64_t>();
    auto const end = value[1].get<std::uint64_t>();
    if (begin > end || end > data_.size())
      fail(what + " claims bytes " + std::to_string(begin) + " to " + std::to_string(end) + ", but the file holds " +
           std::to_string(data_.size()) + " (truncated?)");
    return {static_cast<std::size_t>(begin), static_cast<std::size_t>(end)};
  }

  std::uint64_t size(std::string const& what, std::vector<std::int64_t> const& shape, std::uint64_t bits) const {
    std::uint64_t total = bits;
    for (auto const extent : shape)
      if (__builtin_mul_overflow(total, static_cast<std::uint64_t>(extent), &total)) fail(what + " has an impossible shape");
    if (total % 8 != 0) fail(what + " does not fill whole bytes");
    return total / 8;
  }

  mapped_file const& file_;
  std::span<std::byte const> data_;
};

}  // namespace

safetensors_file::safetensors_file(std::filesystem::path const& path) : file_(path) {
  header_reader reader(file_);
  json const header = reader.header();
  tensors_.reserve(header.size());
  for (auto const& [name, value] : header.items()) {
    if (name == "__metadata__")
      metadata_ = reader.metadata(value);
    else
      tensors_.push_back(reader.tensor(name, value));
  }
  std::sort(tensors_.begin(), tensors_.end(), [](auto const& a, auto const& b) {
    return std::pair{a.bytes.data(), a.bytes.size()} < std::pair{b.bytes.data(), b.bytes.size()};
  });
  reader.check_cover(tensors_);
}

namespace {

/// Order of the data in the file: wide elements first, then by name. Wide ones first keeps all of them aligned.
std::vector<std::size_t> layout(std::vector<tensor_plan> const& plan) {
  std::vector<std::size_t> order(plan.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair{size_of(plan[b].type), std::string_view{plan[a].name}} <
           std::pair{size_of(plan[a].type), std::string_view{plan[b].name}};
  });
  return order;
}

/// The header, padded with spaces so that the data begin at a multiple of 8 bytes.
std::string header_text(std::vector<tensor_plan> const& plan, std::vector<std::size_t> const& order,
                        std::map<std::string, std::string> const& metadata) {
  json header = json::object();
  if (!metadata.empty()) append_member(header, "__metadata__", metadata);
  std::set<std::string_view> names;
  std::size_t begin = 0;
  for (std::size_t const index : order) {
    auto const& t = plan[index];
    if (t.name == "__metadata__" || !is_utf8(t.name) || !names.insert(t.name).second)
      throw error("cannot write a tensor called " + in_quotes(t.name) + ": the name is taken or not allowed");
    std::size_t const end = begin + t.bytes();
    append_member(header, t.name,
                  {{"dtype", std::string{name_of(t.type)}}, {"shape", t.shape}, {"data_offsets", {begin, end}}});
    begin = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > longest_header) throw error("too many tensors for one safetensors file; write it in shards");
  return text;
}

void check_length(tensor_plan const& tensor, std::size_t given) {
  if (given != tensor.bytes())
    throw error("tensor " + in_quotes(tensor.name) + " should have " + std::to_string(tensor.bytes()) + " bytes, but " +
                std::to_string(given) + " were given to be written");
}

/// Groups of tensors that fit into a shard each, in the order of the plan.
std::vector<std::vector<std::size_t>> shards_of(std::vector<tensor_plan> const& plan, std::size_t shard_bytes) {
  std::vector<std::vector<std::size_t>> out(1);
  std::size_t used = 0;
  for (std::size_t i = 0; i < plan.size(); ++i) {
    std::size_t const size = plan[i].bytes();
    if (!out.back().empty() && (used > shard_bytes || size > shard_bytes - used)) {
      out.emplace_back();
      used = 0;
    }
    out.back().push_back(i);
    used += size;
  }
  return out;
}

std::string shard_name(std::size_t shard, std::size_t count) {
  std::array<char, 64> name{};
  std::snprintf(name.data(), name.size(), "model-%05zu-of-%05zu.safetensors", shard + 1, count);
  return name.data();
}

/// model.safetensors.index.json for tensors that lie in the files of these numbers.
void write_index(std::filesystem::path const& folder, std::vector<std::string> const& files,
                 std::vector<std::pair<std::size_t, tensor_plan const*>> const& placed) {
  std::map<std::string, std::string> weight_map;
  std::size_t total = 0;
  std::size_t parameters = 0;
  for (auto const& [file, tensor] : placed) {
    weight_map[tensor->name] = files[file];
    total += tensor->bytes();
    parameters += tensor->bytes() / size_of(tensor->type);
  }
  json index = {{"metadata", {{"total_parameters", parameters}, {"total_size", total}}}};
  index["weight_map"] = weight_map;
  write_file_atomically(folder / "model.safetensors.index.json", index.dump(2) + "\n");
}

std::map<std::string, std::string> const torch_metadata{{"format", "pt"}};

}  // namespace

std::size_t tensor_plan::bytes() const {
  std::size_t total = size_of(type);
  for (auto const extent : shape)
    if (extent < 0 || __builtin_mul_overflow(total, static_cast<std::size_t>(extent), &total))
      throw error("tensor " + in_quotes(name) + " has an impossible shape");
  return total;
}

void write_safetensors(std::filesystem::path const& path, std::vector<tensor_plan> const& plan, tensor_bytes const& bytes_of,
                       std::map<std::string, std::string> const& metadata) {
  auto const order = layout(plan);
  std::string const header = header_text(plan, order, metadata);
  std::uint64_t const length = header.size();
  pending_file file(path);
  file.write(std::as_bytes(std::span{&length, 1}));
  file.write(header);
  for (std::size_t const index : order) {
    auto const bytes = bytes_of(index);
    check_length(plan[index], bytes.size());
    file.write(bytes);
  }
  file.commit();
}

void write_safetensors(std::filesystem::path const& path, std::vector<tensor_to_write> const& tensors,
                       std::map<std::string, std::string> const& metadata) {
  std::vector<tensor_plan> plan;
  for (auto const& t : tensors) plan.push_back({t.name, t.type, t.shape});
  write_safetensors(path, plan, [&](std::size_t index) { return tensors[index].bytes; }, metadata);
}

void write_model_safetensors(std::filesystem::path const& folder, std::vector<tensor_plan> const& plan,
                             tensor_bytes const& bytes_of, std::size_t shard_bytes) {
  auto const shards = shards_of(plan, shard_bytes);
  if (shards.size() == 1) return write_safetensors(folder / "model.safetensors", plan, bytes_of, torch_metadata);
  std::vector<std::string> names;
  std::vector<std::pair<std::size_t, tensor_plan const*>> placed;
  for (std::size_t s = 0; s < shards.size(); ++s) {
    names.push_back(shard_name(s, shards.size()));
    std::vector<tensor_plan> part;
    for (std::size_t const index : shards[s]) {
      part.push_back(plan[index]);
      placed.emplace_back(s, &plan[index]);
    }
    write_safetensors(folder / names.back(), part, [&](std::size_t i) { return bytes_of(shards[s][i]); }, torch_metadata);
  }
  write_index(folder, names, placed);
}

model_writer::model_writer(std::filesystem::path const& folder, std::vector<tensor_plan> plan, std::size_t shard_bytes,
                           std::map<std::string, std::string> const& metadata)
    : folder_(folder), plan_(std::move(plan)), places_(plan_.size()) {
  auto const shards = shards_of(plan_, shard_bytes);
  for (std::size_t s = 0; s < shards.size(); ++s) {
    std::vector<tensor_plan> part;
    for (std::size_t const index : shards[s]) part.push_back(plan_[index]);
    auto const order = layout(part);
    std::string const header = header_text(part, order, metadata);
    std::uint64_t const length = header.size();
    names_.push_back(shards.size() == 1 ? "model.safetensors" : shard_name(s, shards.size()));
    files_.push_back(std::make_unique<pending_file>(folder_ / names_.back()));
    files_.back()->write(std::as_bytes(std::span{&length, 1}));
    files_.back()->write(header);
    std::size_t begin = sizeof length + header.size();
    for (std::size_t const i : order) {
      places_[shards[s][i]] = {s, begin};
      order_.push_back(shards[s][i]);
      begin += part[i].bytes();
    }
  }
}

model_writer::~model_writer() = default;

void model_writer::write(std::size_t index, std::size_t offset, std::span<std::byte const> bytes) {
  if (offset > plan_[index].bytes() || bytes.size() > plan_[index].bytes() - offset) check_length(plan_[index], offset + bytes.size());
  files_[places_[index].file]->write_at(places_[index].begin + offset, bytes);
}

void model_writer::finish(std::size_t index) noexcept {
  files_[places_[index].file]->begin_flush(places_[index].begin, plan_[index].bytes());
}

void model_writer::commit() {
  for (auto const& file : files_) file->commit_unflushed();
  if (files_.size() == 1) return;
  std::vector<std::pair<std::size_t, tensor_plan const*>> placed;
  for (std::size_t i = 0; i < plan_.size(); ++i) placed.emplace_back(places_[i].file, &plan_[i]);
  write_index(folder_, names_, placed);
}

}  // namespace kedge::llm
