// SPDX-License-Identifier: Apache-2.0

// A GGUF file as a checkpoint: metadata, every tensor dequantised, the model that it says it is, its tokenizer and its chat template.
#include <vector>

#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/formats/gguf.hpp>
#include <kedge/llm/model/config.hpp>
#include <kedge/llm/text/chat_template.hpp>
#include <kedge/llm/text/tokenizer.hpp>

#include "memory_file.hpp"
#include "target.hpp"

using namespace kedge::testing;
using namespace kedge::llm;

namespace {

void read_tensors(std::string const& path, std::size_t size) {
  gguf_file const file(path);
  std::size_t bytes = 0;
  for (auto const& tensor : file.tensors()) {
    bytes += tensor.bytes.size();
    if (tensor.bytes.empty()) continue;
    std::vector<float> numbers(tensor.elements());
    dequantise(tensor.type, tensor.bytes, numbers);
  }
  expect(bytes <= size, "tensors that are larger than their file");
}

void open_model(std::string const& path) {
  checkpoint const model = checkpoint::open(path);
  for (auto const& tensor : model.tensors())
    may_refuse([&] {
      std::vector<float> numbers(tensor.elements());
      model.read(tensor.name, dtype::f32, std::as_writable_bytes(std::span(numbers)));
    });
  may_refuse([&] { expect(parameter_count(read_config(model.config, "input")) > 0, "a model without parameters"); });
  may_refuse([&] {
    if (model.tokenizer.is_null()) return;
    tokenizer const words = tokenizer::from_json(model.tokenizer);
    static_cast<void>(words.decode(words.encode("The bóat\n lay 12 <s>", true), false));
  });
  may_refuse([&] { static_cast<void>(open_chat_template(model)); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  memory_file const input(data, size);
  may_refuse([&] { read_tensors(input.path(), size); });
  may_refuse([&] { open_model(input.path()); });
  return 0;
}
