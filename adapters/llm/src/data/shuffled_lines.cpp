// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/data/shuffled_lines.hpp>

#include <cerrno>   // errno
#include <cstring>  // strerror
#include <random>   // mt19937_64
#include <span>     // span
#include <string>   // string

#include <fcntl.h>
#include <unistd.h>

#include <kedge/llm/base/error.hpp>

#include "byte_source.hpp"
#include "shuffle.hpp"

namespace kedge::llm {
namespace {

void write_all(int descriptor, std::string_view text, std::filesystem::path const& folder) {
  while (!text.empty()) {
    ssize_t const count = ::write(descriptor, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0)
      throw error("cannot unpack into " + in_quotes(folder.string()) + ": " + std::strerror(errno) +
                  "; let TMPDIR name a folder with more space");
    text.remove_prefix(static_cast<std::size_t>(count));
  }
}

/// All bytes of a source in a file that has no name and goes with its map.
mapped_file unpacked(std::filesystem::path const& path) {
  byte_source source(path);
  std::filesystem::path const folder = std::filesystem::temp_directory_path();
  std::string name = (folder / "kedge-XXXXXX").string();
  int const descriptor = ::mkostemp(name.data(), O_CLOEXEC);
  if (descriptor < 0) throw error("cannot write to " + in_quotes(folder.string()) + ": " + std::strerror(errno));
  ::unlink(name.c_str());
  try {
    std::string buffer(std::size_t{1} << 20U, '\0');
    for (std::size_t count = 1; count > 0;) {
      count = source.read(buffer);
      write_all(descriptor, std::string_view{buffer}.substr(0, count), folder);
    }
    mapped_file out("/proc/self/fd/" + std::to_string(descriptor));
    ::close(descriptor);
    return out;
  } catch (...) {
    ::close(descriptor);
    throw;
  }
}

/// A plain file as it lies, anything else unpacked.
mapped_file mapped(std::filesystem::path const& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return unpacked(path);
  mapped_file plain(path);
  return is_packed(plain.text()) ? unpacked(path) : std::move(plain);
}

}  // namespace

shuffled_lines::shuffled_lines(std::filesystem::path const& path, std::uint64_t seed) : file_(mapped(path)) {
  std::string_view const text = file_.text();
  std::size_t at = text.starts_with("\xef\xbb\xbf") ? 3 : 0, released = 0;
  while (at < text.size()) {
    std::size_t const end = std::min(text.find('\n', at), text.size());
    if (!is_blank(text.substr(at, end - at))) begins_.push_back(at);
    at = end + 1;
    constexpr std::size_t piece = std::size_t{64} << 20U;  // pages that are done with
    if (at - released < piece) continue;
    mapped_file::release(file_.bytes().subspan(released, std::min(at, text.size()) - released));
    released = at;
  }
  if (begins_.empty()) throw error(in_quotes(path.string()) + " has no lines");
  shuffle(begins_, std::mt19937_64(seed));
}

std::string_view shuffled_lines::operator[](std::size_t i) const {
  std::string_view const rest = file_.text().substr(begins_[i]);
  std::string_view const line = rest.substr(0, rest.find('\n'));
  return line.ends_with('\r') ? line.substr(0, line.size() - 1) : line;
}

}  // namespace kedge::llm
