// SPDX-License-Identifier: Apache-2.0

// What opening a checkpoint costs: kedge_load_cost MODEL [float32|bfloat16|view]
//
// Seconds (wall and processor) until every tensor is in memory in that format, or mapped (view, what is stored in bfloat16 and needs no
// copy), and the largest resident set over the bytes that were loaded. One process, one format: a second reading would find the first one's memory.
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <string>
#include <vector>

#include <kedge/llm/formats/checkpoint.hpp>

int main(int argc, char** argv) try {
  using namespace kedge::llm;
  if (argc < 2) return 2;
  std::string const format = argc > 2 ? argv[2] : "float32";
  dtype const as = format == "float32" ? dtype::f32 : dtype::bf16;
  auto const start = std::chrono::steady_clock::now();
  checkpoint const model = checkpoint::open(argv[1]);
  std::chrono::duration<double> const opened = std::chrono::steady_clock::now() - start;
  std::vector<std::vector<std::byte>> copies;
  std::size_t bytes = 0, viewed = 0;
  [[maybe_unused]] std::byte volatile touched{};
  for (tensor_entry const& tensor : model.tensors()) {
    std::size_t const size = tensor.elements() * size_of(as);
    bytes += size;
    if (auto const mapped = format == "view" ? model.view(tensor.name, as) : std::nullopt) {
      for (std::size_t i = 0; i < mapped->size(); i += 4096) touched = (*mapped)[i];  // the page is there from now on
      viewed += size;
      continue;
    }
    model.read(tensor.name, as, copies.emplace_back(size));
  }
  std::chrono::duration<double> const took = std::chrono::steady_clock::now() - start;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  double const processor = static_cast<double>(std::clock()) / CLOCKS_PER_SEC, resident = static_cast<double>(usage.ru_maxrss) * 1024;
  std::printf("%s, %s: %zu tensors, %.1f MB, %.1f MB of them mapped; opened in %.3f s, loaded in %.3f s, %.3f s of the processor; "
              "resident %.1f MB, %.2f of the model\n",
              argv[1], format.c_str(), model.tensors().size(), static_cast<double>(bytes) / 1e6, static_cast<double>(viewed) / 1e6,
              opened.count(), took.count(), processor, resident / 1e6, resident / static_cast<double>(bytes));
  return 0;
} catch (std::exception const& problem) {
  std::fprintf(stderr, "kedge_load_cost: %s\n", problem.what());
  return 1;
}
