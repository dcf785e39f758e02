// SPDX-License-Identifier: Apache-2.0
#include "parquet_file.hpp"

#include <dlfcn.h>

#include <kedge/llm/base/error.hpp>

#include "../../base/library_places.hpp"
#include "plugin.hpp"

namespace kedge::llm {
namespace {

constexpr char const* library_name = "libkedge-parquet.so";
using entry = kedge_parquet_functions const* (*)();

// In the usual places, then where the system looks.
void* loaded_library(std::string& why_not) {
  std::error_code ignored;
  std::vector<std::filesystem::path> places = library_places(library_name);
  places.emplace_back(library_name);
  for (std::filesystem::path const& place : places) {
    bool const named = place.has_parent_path();
    if (named && !std::filesystem::exists(place, ignored)) continue;
    if (void* const library = ::dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL); library != nullptr) return library;
    char const* const problem = ::dlerror();
    if (named && problem != nullptr) why_not = problem;
  }
  return nullptr;
}

kedge_parquet_functions const* functions(std::string const& file) {
  static std::string why_not;
  static void* const library = loaded_library(why_not);
  if (library == nullptr)
    throw error(file + " is a Parquet file, and " +
                (why_not.empty() ? std::string(library_name) + ", which reads them, is not there" : why_not) +
                "; ./dev build makes it (it fetches pyarrow); or turn the file into JSON lines, as docs/data.md shows");
  auto const found = reinterpret_cast<entry>(::dlsym(library, "kedge_parquet_1"));
  if (found == nullptr) throw error(std::string(library_name) + " is of another version of kedge; build or install both anew");
  return found();
}

}  // namespace

parquet_file::parquet_file(std::filesystem::path const& path) : name_(in_quotes(path.string())), functions_(functions(name_)) {
  char problem[400] = "";
  file_ = functions_->open(path.c_str(), problem, sizeof problem);
  if (file_ == nullptr) throw error(name_ + " cannot be read as Parquet: " + problem);
}

parquet_file::~parquet_file() { functions_->close(file_); }

std::string_view parquet_file::next() {
  char const* rows = nullptr;
  char problem[400] = "";
  std::ptrdiff_t const size = functions_->next(file_, &rows, problem, sizeof problem);
  if (size < 0) throw error(name_ + " cannot be read further: " + problem + "; the Parquet data are damaged or cut off");
  return {rows, static_cast<std::size_t>(size)};
}

}  // namespace kedge::llm
