// SPDX-License-Identifier: Apache-2.0

// A data set, plain or packed by gzip or zstd, as pairs, demonstrations and prompts.
#include <kedge/llm/data/demonstrations.hpp>
#include <kedge/llm/data/preferences.hpp>
#include <kedge/llm/data/prompts.hpp>
#include <kedge/llm/data/report.hpp>
#include <kedge/llm/data/shuffled_lines.hpp>

#include "memory_file.hpp"
#include "target.hpp"

using namespace kedge::testing;
using namespace kedge::llm;

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  memory_file const input(data, size);
  may_refuse([&] {
    for (auto const& pair : read_preferences(input.path(), true))
      expect(pair.prompt.is_string() == pair.chosen.is_string(), "a prompt and a completion of different kinds");
  });
  may_refuse([&] { static_cast<void>(read_preferences(input.path(), false)); });
  may_refuse([&] { static_cast<void>(read_demonstrations(input.path(), true)); });
  may_refuse([&] { static_cast<void>(read_prompts(input.path(), true)); });
  may_refuse([&] {
    data_report const report = report_on_file(input.path());
    expect(report.prompts <= report.examples && report.examples > 0, "a report that contradicts itself");
    static_cast<void>(to_json(report).dump());
  });
  may_refuse([&] {
    shuffled_lines const lines(input.path(), 1);
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < lines.size(); ++i) bytes += lines[i].size();
    expect(bytes > 0, "lines without a byte");
  });
  return 0;
}
