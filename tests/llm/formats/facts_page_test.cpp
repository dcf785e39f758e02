// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "support/catch.hpp"

namespace fs = std::filesystem;

namespace {

std::string text_of(fs::path const& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// What stands between backticks in the last cell of a table's row.
std::vector<std::string> tests_of(std::string const& page) {
  std::vector<std::string> names;
  for (std::size_t at = 0; (at = page.find("` |\n", at)) != std::string::npos; ++at) {
    std::size_t const begin = page.rfind('`', at - 1) + 1;
    names.push_back(page.substr(begin, at - begin));
  }
  return names;
}

}  // namespace

TEST_CASE("Every fact of a checkpoint on the page about them has a test of the name given there", "[facts]") {
  std::string sources;
  for (auto const& entry : fs::recursive_directory_iterator(fs::path(KEDGE_TESTS_DIR) / "llm"))
    if (entry.path().extension() == ".cpp") sources += text_of(entry.path());
  auto const names = tests_of(text_of(fs::path(KEDGE_PROJECT_DIR) / "docs" / "facts.md"));
  CHECK(names.size() > 30);
  for (std::string const& name : names) {
    CAPTURE(name);
    CHECK(sources.find("TEST_CASE(\"" + name + '"') != std::string::npos);
  }
}
