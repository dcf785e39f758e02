// SPDX-License-Identifier: Apache-2.0

// A main function for the targets of this folder where no fuzzer drives them: gives each the files of the named folders, as
// they are and damaged.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "support/mutations.hpp"
#include "target.hpp"

namespace {

void give(std::string const& input) { LLVMFuzzerTestOneInput(reinterpret_cast<std::uint8_t const*>(input.data()), input.size()); }

}  // namespace

int main(int argc, char** argv) {
  std::size_t files = 0;
  for (int i = 1; i < argc; ++i)
    for (auto const& entry : std::filesystem::directory_iterator(argv[i])) {
      std::ifstream stream(entry.path(), std::ios::binary);
      std::string const input{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
      give(input);
      for (std::uint64_t seed = 0; seed < 100; ++seed) give(kedge::testing::mutations(seed)(input));
      ++files;
    }
  std::printf("%zu files, each with 100 mutations\n", files);
  return files > 0 ? 0 : 1;
}
