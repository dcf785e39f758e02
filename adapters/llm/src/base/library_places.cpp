// SPDX-License-Identifier: Apache-2.0
#include "library_places.hpp"

namespace kedge::llm {

std::vector<std::filesystem::path> library_places(std::string const& name) {
  std::error_code ignored;
  std::filesystem::path const program = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  return {program / name, program.parent_path() / KEDGE_LIBRARY_FOLDER / name};
}

}  // namespace kedge::llm
