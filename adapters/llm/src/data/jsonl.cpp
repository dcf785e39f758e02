// SPDX-License-Identifier: Apache-2.0
#include <fstream>   // ifstream
#include <iterator>  // istreambuf_iterator
#include <optional>  // optional
#include <utility>   // move

#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/files/error.hpp>
#include <kedge/llm/files/json.hpp>
#include <kedge/llm/files/mapped_file.hpp>

namespace kedge::llm {
namespace {

/// A file's text: mapped where it is a regular file, else read to the end.
class text_of {
 public:
  explicit text_of(std::filesystem::path const& path) {
    std::error_code ignored;
    auto const status = std::filesystem::status(path, ignored);
    if (std::filesystem::is_fifo(status) || std::filesystem::is_character_file(status)) {
      std::ifstream stream(path, std::ios::binary);
      if (!stream) throw error("cannot read " + in_quotes(path.string()));
      owned_.assign(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
    } else {
      mapped_.emplace(path);
    }
  }
  std::string_view text() const { return mapped_ ? mapped_->text() : std::string_view{owned_}; }

 private:
  std::optional<mapped_file> mapped_;
  std::string owned_;
};

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r\v\f") == std::string_view::npos;
}

/// The reason alone, without the empty name that parse_json puts in front.
nlohmann::ordered_json parse_line(std::string_view line) {
  try {
    return parse_json(line, "");
  } catch (error const& problem) {
    std::string_view const message = problem.what();
    throw error(std::string{message.substr(message.find_first_not_of(": "))});
  }
}

}  // namespace

std::size_t read_json_lines(std::filesystem::path const& path, bool skip_bad_lines,
                            std::function<void(json_line)> const& take) {
  text_of const file(path);
  std::string_view rest = file.text();
  if (rest.starts_with("\xef\xbb\xbf")) rest.remove_prefix(3);
  std::size_t skipped = 0;
  std::size_t taken = 0;
  for (std::size_t number = 1; !rest.empty(); ++number) {
    std::size_t const end = rest.find('\n');
    std::string_view const line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (is_blank(line)) continue;
    std::string place = in_quotes(path.string()) + ':' + std::to_string(number);
    try {
      auto object = parse_line(line);
      if (!object.is_object()) throw error("the line is not a JSON object");
      take({std::move(object), number, place});
      ++taken;
    } catch (error const& problem) {
      if (!skip_bad_lines) throw error(place + ": " + problem.what());
      ++skipped;
    }
  }
  if (taken == 0)
    throw error(in_quotes(path.string()) +
                (skipped > 0 ? " has no usable line: all " + std::to_string(skipped) + " are bad" : " has no lines") +
                "; pass a file with one JSON object a line");
  return skipped;
}

}  // namespace kedge::llm
