// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>     // size_t
#include <filesystem>  // path
#include <functional>  // function
#include <string>      // string
#include <vector>      // vector

#include <kedge/llm/base/screen.hpp>
#include <kedge/llm/formats/gguf_quantise.hpp>

namespace kedge::llm {

struct gguf_export_settings {
  std::filesystem::path model, output;
  gguf_storage type = gguf_storage::bf16;
  unsigned threads = 0;      ///< 0: all cores; changes no byte
  bool overwrite = false;
  bool quiet = false;        ///< no progress, no notes
  screen tells;              ///< where progress and notes go
  std::function<bool()> stop = [] { return false; };
};

struct gguf_export_result {
  std::size_t tensors = 0, bytes = 0;
  std::vector<std::string> notes;  ///< what the file can't say, or what is stored otherwise than asked for
};

/// Writes a model as one GGUF file, atomically, with the metadata and the names that llama.cpp's converter gives them. Before any weight is
/// written, the file's description and vocabulary are read back: they have to be the model's own, and the vocabulary has to give the same
/// ids. Matrices whose rows are no whole blocks are Q8_0, or F16; where a type has 4 bits, embedding and head are Q8_0.
/// throws  kedge::llm::error for what GGUF has no word for, a tokenizer whose way of splitting text llama.cpp doesn't know, a tensor
///         without a name there, and weights beyond the range of F16
/// cost    memory for the largest tensor in float32, and for what is written of it
gguf_export_result export_gguf(gguf_export_settings const& settings);

/// What export_gguf throws when `stop` says so; nothing is written then.
struct gguf_export_interrupted {};

}  // namespace kedge::llm
