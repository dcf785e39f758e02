// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iostream>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/shuffled_lines.hpp>

#include "command.hpp"

namespace kedge::cli {

int run_shuffle(arguments const& args) {
  std::filesystem::path input, output = "-";
  std::uint64_t seed = 42;
  std::size_t most = 0;
  command_line line("kedge shuffle", "The lines of a file in a random order, also of one that is larger than memory.");
  line.settings.add("dataset", input, "JSONL, plain or packed by gzip or zstd; - for standard input").alias("data").positional().required();
  line.settings.add("output", output, "file, or - for standard output");
  line.settings.add("seed", seed, "decides the order").at_most(1.8446744073709552e19);
  line.settings.add("max_samples", most, "write the first so many lines of the order: a random sample; 0 or -1: all").also("-1", "0");
  line.parse(args);
  llm::shuffled_lines const lines(input, seed);
  std::optional<llm::pending_file> file;
  if (output != "-") file.emplace(output);
  std::string block;
  auto const flush = [&] {
    if (file)
      file->write(block);
    else if (!std::cout.write(block.data(), static_cast<std::streamsize>(block.size())))
      throw llm::error("the lines can't be written; is the disk full?");
    block.clear();
  };
  for (std::size_t i = 0; i < (most == 0 ? lines.size() : std::min(most, lines.size())); ++i) {
    block += lines[i];
    block += '\n';
    if (constexpr std::size_t large = std::size_t{1} << 20U; block.size() > large) flush();
  }
  flush();
  if (file) file->commit();
  return exit_done;
}

}  // namespace kedge::cli
