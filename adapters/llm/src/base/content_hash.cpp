// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/base/content_hash.hpp>

#include <algorithm>
#include <array>
#include <cstdio>

#include <kedge/llm/base/mapped_file.hpp>

namespace kedge::llm {
namespace {

namespace fs = std::filesystem;

// Records of runs lie beside a model that kedge has trained, and say nothing about it.
bool belongs_to_model(fs::path const& file) {
  return (file.extension() == ".json" || file.extension() == ".safetensors" || file.extension() == ".jinja") && file.filename() != "run.json";
}

// What add(bytes) does, piece by piece: the memory of what was read is given back, else a model would be there twice.
void add_and_release(content_hash& hash, std::span<std::byte const> bytes) {
  constexpr std::size_t piece = std::size_t{16} << 20U;
  hash.add(static_cast<std::uint64_t>(bytes.size()));
  for (std::size_t begin = 0; begin < bytes.size(); begin += piece) {
    std::span<std::byte const> const part = bytes.subspan(begin, std::min(piece, bytes.size() - begin));
    hash.add_words(part);
    mapped_file::release(part);
  }
}

}  // namespace

std::string content_hash::text() const {
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(state_));
  return digits.data();
}

std::string hash_of_model(fs::path const& model) {
  content_hash hash;
  std::vector<fs::path> files;
  if (fs::is_directory(model)) {
    for (auto const& entry : fs::directory_iterator(model))
      if (entry.is_regular_file() && belongs_to_model(entry.path())) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
  } else {
    files.push_back(model);
  }
  for (fs::path const& file : files) {
    hash.add(fs::is_directory(model) ? std::string_view(file.filename().native()) : std::string_view());
    if (fs::file_size(file) > 0) add_and_release(hash, mapped_file(file).bytes());
  }
  return hash.text();
}

}  // namespace kedge::llm
