// SPDX-License-Identifier: Apache-2.0
//
// Tensors of all experts of a layer that a checkpoint stores otherwise than Hugging Face's model has them.
#include <algorithm>  // min
#include <array>      // array
#include <cmath>      // ldexp
#include <utility>    // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/mapped_file.hpp>
#include <kedge/llm/formats/gguf.hpp>

#include "checkpoint_storage.hpp"

namespace kedge::llm {
namespace {

constexpr std::size_t block = 32;  // numbers that share a scale

// Two numbers a byte, the first in its lower half; each block is scaled by 2^(scale − 127).    OCP Microscaling Formats, MXFP4
void decode_mxfp4(std::span<std::byte const> bytes, std::span<std::byte const> scales, std::span<float> out) {
  constexpr std::array<float, 8> levels{0, 0.5F, 1, 1.5F, 2, 3, 4, 6};
  auto const number = [&](unsigned code) { return (code & 8U) != 0 ? -levels[code & 7U] : levels[code & 7U]; };
  for (std::size_t i = 0; i < out.size(); ++i) {
    unsigned const two = std::to_integer<unsigned>(bytes[i / 2]);
    out[i] = std::ldexp(number(i % 2 == 0 ? two & 15U : two >> 4U), std::to_integer<int>(scales[i / block]) - 127);
  }
}

}  // namespace

void decode(tensor_source const& source, std::size_t row, std::span<float> out) {
  std::size_t const n = out.size();
  if (!source.scales.empty()) return decode_mxfp4(source.bytes.subspan(row * n / 2, n / 2), source.scales.subspan(row * n / block, n / block), out);
  if (source.plain) {
    std::size_t const size = n * size_of(*source.plain);
    convert(*source.plain, source.bytes.subspan(row * size, size), dtype::f32, std::as_writable_bytes(out));
  } else {
    gguf_block const form = *gguf_block_of(source.gguf_type);
    std::size_t const size = n / form.elements * form.bytes;
    dequantise(source.gguf_type, source.bytes.subspan(row * size, size), out);
  }
  if (source.shift != 0.0F)
    for (float& x : out) x += source.shift;
}

void read_experts(expert_assembly const& of, dtype as, std::span<std::byte> out) {
  std::size_t const parts = of.parts.size(), rows = parts * of.rows, size = rows * of.width;
  std::vector<float> row(of.width), expert(size);
  for (std::size_t e = 0; e < of.experts; ++e) {
    for (std::size_t p = 0; p < parts; ++p)
      for (std::size_t r = 0; r < of.rows; ++r) {
        decode(of.parts[p], e * of.rows + r, row);
        std::size_t const first = of.turned ? parts * r + p : (p * of.rows + r) * of.width, step = of.turned ? rows : 1;
        for (std::size_t i = 0; i < of.width; ++i) expert[first + i * step] = row[i];
      }
    convert(dtype::f32, std::as_bytes(std::span{expert}), as, out.subspan(e * size * size_of(as), size * size_of(as)));
  }
  for (tensor_source const& part : of.parts) mapped_file::release(part.bytes);
}

void join_mxfp4(opened_checkpoint& opened) {
  nlohmann::ordered_json const said = opened.config.value("quantization_config", nlohmann::ordered_json());
  if (!said.is_object() || said.value("quant_method", nlohmann::ordered_json()) != "mxfp4") return;
  constexpr std::string_view blocks = "_blocks", scales = "_scales";
  checkpoint::storage& files = *opened.files;
  checkpoint::storage joined;
  joined.path = files.path;
  std::size_t found = 0;
  for (std::size_t i = 0; i < files.entries.size(); ++i) {
    tensor_entry const& entry = files.entries[i];
    std::string_view const name = entry.name;
    if (name.ends_with(scales) && files.index.contains(std::string{name.substr(0, name.size() - scales.size())} + std::string{blocks})) continue;
    if (!name.ends_with(blocks)) {
      joined.add(entry, files.sources[i]);
      continue;
    }
    std::string const own{name.substr(0, name.size() - blocks.size())};
    auto const other = files.index.find(own + std::string{scales});
    auto const fits = [&] {
      std::vector<std::int64_t> shape = entry.shape;
      if (shape.size() != 4 || shape.back() != block / 2 || entry.stored_type != "U8") return false;
      shape.pop_back();
      return files.entries[other->second].shape == shape && files.entries[other->second].stored_type == "U8";
    };
    if (other == files.index.end() || !fits())
      throw error(in_quotes(files.path.string()) + ": tensor " + in_quotes(name) + " has no fitting " + own + std::string{scales} + "; fetch the files again");
    tensor_source part = files.sources[i];
    part.scales = files.sources[other->second].bytes;
    part.plain.reset();
    part.readable = true;
    std::int64_t const rows = entry.shape[1], width = entry.shape[2] * static_cast<std::int64_t>(block);
    tensor_source source;
    source.experts = std::make_shared<expert_assembly const>(expert_assembly{
        {std::move(part)}, static_cast<std::size_t>(entry.shape[0]), static_cast<std::size_t>(rows), static_cast<std::size_t>(width), /*turned=*/true});
    joined.add({own, {entry.shape[0], width, rows}, "MXFP4"}, source);
    ++found;
  }
  files.entries = std::move(joined.entries);
  files.sources = std::move(joined.sources);
  files.index = std::move(joined.index);
  opened.config.erase("quantization_config");
  if (found > 0) opened.notes.push_back(std::to_string(found) + " tensors are stored as MXFP4; they are read as numbers, and written as the dtype asked for");
}

}  // namespace kedge::llm
