// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // min
#include <utility>    // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/mapped_file.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/formats/gguf.hpp>

#include "checkpoint_storage.hpp"
#include "gguf_to_hf.hpp"

namespace kedge::llm {

std::size_t stored_row(std::size_t wanted, std::size_t rows, std::size_t heads) {
  std::size_t const head_size = rows / heads;
  std::size_t const head = wanted / head_size;
  std::size_t const within = wanted % head_size;
  std::size_t const pairs = head_size / 2;
  return head * head_size + 2 * (within % pairs) + within / pairs;
}

namespace {

/// Row by row through a buffer of floats, which every block format needs and reordered rows too.
void read_rows(tensor_source const& source, std::size_t all_rows, std::size_t first, std::size_t width, dtype as, std::span<std::byte> out) {
  std::size_t const out_row = width * size_of(as), rows = out.size() / out_row;
  std::vector<float> buffer(width);
  for (std::size_t r = 0; r < rows; ++r) {
    auto const heads = static_cast<std::size_t>(source.paired_heads);
    std::size_t const from = heads == 0 ? first + r : stored_row(first + r, all_rows, heads);
    decode(source, from, buffer);
    convert(dtype::f32, std::as_bytes(std::span{buffer}), as, out.subspan(r * out_row, out_row));
  }
}

/// Number for number, in pieces whose pages of the map are given back as soon as they are copied: reading a whole model
/// then takes the memory of the result and little more.
void read_plain(tensor_source const& source, dtype as, std::span<std::byte> out) {
  constexpr std::size_t piece = std::size_t{1} << 20U;  // elements
  std::size_t const in_size = size_of(*source.plain);
  std::size_t const out_size = size_of(as);
  for (std::size_t done = 0, count = 0; done * out_size < out.size(); done += count) {
    count = std::min(piece, out.size() / out_size - done);
    auto const in = source.bytes.subspan(done * in_size, count * in_size);
    convert(*source.plain, in, as, out.subspan(done * out_size, count * out_size));
    mapped_file::release(in);
  }
}

}  // namespace

std::size_t tensor_entry::elements() const noexcept {
  std::size_t n = 1;
  for (auto const extent : shape) n *= static_cast<std::size_t>(extent);
  return n;
}

void checkpoint::storage::add(tensor_entry entry, tensor_source source) {
  if (!index.try_emplace(entry.name, entries.size()).second)
    throw error(in_quotes(path.string()) + ": tensor " + in_quotes(entry.name) + " appears twice; fetch the files again");
  entries.push_back(std::move(entry));
  sources.push_back(source);
}

checkpoint::checkpoint(checkpoint&&) noexcept = default;
checkpoint& checkpoint::operator=(checkpoint&&) noexcept = default;
checkpoint::~checkpoint() = default;

checkpoint::checkpoint(opened_checkpoint&& opened)
    : config(std::move(opened.config)),
      tokenizer(std::move(opened.tokenizer)),
      tokenizer_problem(std::move(opened.tokenizer_problem)),
      tokenizer_config(std::move(opened.tokenizer_config)),
      generation_config(std::move(opened.generation_config)),
      chat_templates(std::move(opened.chat_templates)),
      notes(std::move(opened.notes)),
      storage_(std::move(opened.files)) {}

checkpoint checkpoint::open_description(std::filesystem::path const& folder) { return checkpoint(open_folder(folder, weights_are::optional)); }

checkpoint checkpoint::open(std::filesystem::path const& folder_or_gguf) {
  std::error_code ignored;
  auto const status = std::filesystem::status(folder_or_gguf, ignored);
  if (!std::filesystem::exists(status))
    throw error("no model at " + in_quotes(folder_or_gguf.string()) +
                ": there is no such file or folder; pass a Hugging Face folder or a .gguf file");
  bool const folder = std::filesystem::is_directory(status);
  return checkpoint(folder ? open_folder(folder_or_gguf, weights_are::required) : open_gguf(folder_or_gguf));
}

std::vector<tensor_entry> const& checkpoint::tensors() const noexcept { return storage_->entries; }
bool checkpoint::contains(std::string_view name) const { return storage_->index.contains(name); }
std::filesystem::path const& checkpoint::path() const noexcept { return storage_->path; }

tensor_entry const& checkpoint::entry(std::string_view name) const {
  auto const position = storage_->index.find(name);
  if (position == storage_->index.end())
    throw error(in_quotes(path().string()) + " has no tensor " + in_quotes(name) +
                "; the files are incomplete or of another architecture");
  return storage_->entries[position->second];
}

void checkpoint::read(std::string_view name, dtype as, std::span<std::byte> out) const {
  tensor_entry const& wanted = entry(name);
  tensor_source const& source = storage_->sources[storage_->index.find(name)->second];
  std::string const what = in_quotes(path().string()) + ": tensor " + in_quotes(name);
  if (!source.readable || (source.plain && !is_floating(*source.plain)))
    throw error(what + " is stored as " + wanted.stored_type +
                ", which kedge cannot read as weights; use a checkpoint in F32, F16, BF16 or F64, or a GGUF file (" + gguf_type_names() + ")");
  if (!is_floating(as)) throw error(what + " cannot be read as " + std::string{name_of(as)} + "; ask for a floating format");
  std::size_t const elements = wanted.elements();
  if (out.size() != elements * size_of(as))
    throw error(what + " has " + std::to_string(elements) + " elements, but the buffer holds " + std::to_string(out.size()) +
                " bytes of " + std::string{name_of(as)});
  if (elements == 0) return;
  if (source.experts) return read_experts(*source.experts, as, out);
  if (source.plain && source.paired_heads == 0 && source.shift == 0.0F) return read_plain(source, as, out);
  std::size_t const rows = wanted.shape.empty() ? 1 : static_cast<std::size_t>(wanted.shape.front());
  // Without reordering a one-dimensional tensor is one row, not one row an element.
  bool const single = wanted.shape.size() < 2 && source.paired_heads == 0;
  read_rows(source, single ? 1 : rows, 0, single ? elements : elements / rows, as, out);
  mapped_file::release(source.bytes);
}

void checkpoint::read_part(std::string_view name, std::size_t first, dtype as, std::span<std::byte> out) const {
  tensor_entry const& wanted = entry(name);
  tensor_source const& source = storage_->sources[storage_->index.find(name)->second];
  std::size_t const elements = wanted.elements(), count = out.size() / size_of(as);
  if (first == 0 && count == elements) return read(name, as, out);
  if (first + count > elements)
    throw error(in_quotes(path().string()) + ": tensor " + in_quotes(name) + " has " + std::to_string(elements) + " elements, asked for are those up to " +
                std::to_string(first + count));
  if (count == 0) return;
  bool const by_rows = source.readable && !source.experts && source.scales.empty() && wanted.shape.size() > 1;
  if (source.readable && source.plain && is_floating(*source.plain) && !source.experts && source.paired_heads == 0 && source.shift == 0.0F) {
    tensor_source part = source;
    part.bytes = source.bytes.subspan(first * size_of(*source.plain), count * size_of(*source.plain));
    return read_plain(part, as, out);
  }
  std::size_t const width = by_rows ? elements / static_cast<std::size_t>(wanted.shape.front()) : elements;
  std::size_t const first_row = first / width, rows = (first + count - 1) / width + 1 - first_row;
  std::vector<std::byte> around(rows * width * size_of(as));
  if (by_rows)
    read_rows(source, elements / width, first_row, width, as, around);
  else
    read(name, as, around);
  std::copy_n(around.begin() + static_cast<std::ptrdiff_t>((first - first_row * width) * size_of(as)), out.size(), out.begin());
  mapped_file::release(source.bytes);
}

std::optional<stored_blocks> checkpoint::blocks(std::string_view name) const {
  tensor_entry const& of = entry(name);
  tensor_source const& source = storage_->sources[storage_->index.find(name)->second];
  auto const block = source.plain || source.experts || !source.readable ? std::nullopt : gguf_block_of(source.gguf_type);
  if (!block || block->elements == 1 || source.shift != 0.0F || !source.scales.empty() || of.shape.size() != 2) return std::nullopt;
  if (static_cast<std::size_t>(of.shape.back()) % block->elements != 0) return std::nullopt;
  return stored_blocks{source.gguf_type, source.bytes, source.paired_heads, files()};
}

std::shared_ptr<void const> checkpoint::files() const {
  using all = std::vector<std::shared_ptr<void const>>;
  return std::make_shared<all const>(storage_->files);
}

std::optional<std::span<std::byte const>> checkpoint::view(std::string_view name, dtype as) const {
  entry(name);
  tensor_source const& source = storage_->sources[storage_->index.find(name)->second];
  bool const same = source.readable && !source.experts && source.plain == as && source.paired_heads == 0 && source.shift == 0.0F;
  bool const aligned = reinterpret_cast<std::uintptr_t>(source.bytes.data()) % size_of(as) == 0;
  if (!same || !aligned) return std::nullopt;
  return source.bytes;
}

}  // namespace kedge::llm
