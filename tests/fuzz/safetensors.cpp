// SPDX-License-Identifier: Apache-2.0

// A safetensors file: the header, and every tensor as fp32.
#include <vector>

#include <kedge/llm/formats/dtype.hpp>
#include <kedge/llm/formats/safetensors.hpp>

#include "memory_file.hpp"
#include "target.hpp"

using namespace kedge::testing;

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  memory_file const input(data, size);
  may_refuse([&] {
    kedge::llm::safetensors_file const file(input.path());
    std::size_t bytes = 0;
    for (auto const& tensor : file.tensors()) {
      bytes += tensor.bytes.size();
      if (!tensor.type || !is_floating(*tensor.type)) continue;
      std::vector<float> numbers(tensor.bytes.size() / size_of(*tensor.type));
      kedge::llm::convert(*tensor.type, tensor.bytes, kedge::llm::dtype::f32, std::as_writable_bytes(std::span(numbers)));
    }
    expect(bytes <= size, "tensors that are larger than their file");
  });
  return 0;
}
