// SPDX-License-Identifier: Apache-2.0
#include <utility>  // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/data/jsonl.hpp>

#include "byte_source.hpp"
#include "fields.hpp"

namespace kedge::llm {
namespace {

/// The reason alone, without the empty name that parse_json puts in front.
nlohmann::ordered_json parse_line(std::string_view line) {
  try {
    return parse_json(line, "");
  } catch (error const& problem) {
    std::string_view const message = problem.what();
    throw error(std::string{message.substr(message.find_first_not_of(": "))});
  }
}

/// The object of a line, without its null keys. "system" stays: it says of a line that it is a conversation, also where it is null.
/// throws  kedge::llm::error with the reason, and the shape that is wanted where the line shows another one
nlohmann::ordered_json object_of(std::string_view line, bool first) {
  if (first && (line.starts_with("\xff\xfe") || line.starts_with("\xfe\xff"))) throw error("the file is UTF-16; convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)");
  std::size_t const start = line.find_first_not_of(" \t");
  if (first && line[start] == '[') throw error("the file is a JSON list; write one object a line (jq -c '.[]' FILE)");
  if (first && line[start] != '{' && line.find(',') != std::string_view::npos && line.find('{') == std::string_view::npos)
    throw error("the line is no JSON object; of a table of comma-separated values write one JSON object a line");
  nlohmann::ordered_json object = parse_line(line);
  if (!object.is_object()) throw error("the line is not a JSON object");
  auto const system = object.find("system");
  bool const null_system = system != object.end() && system->is_null();
  drop_nulls(object);
  if (null_system) object["system"] = nullptr;
  return object;
}

}  // namespace

json_line_reader::json_line_reader(std::filesystem::path const& path, bool skip_bad_lines)
    : lines_(std::make_unique<line_source>(path)), skip_bad_lines_(skip_bad_lines) {}

json_line_reader::~json_line_reader() = default;

bool json_line_reader::next(taker const& take) {
  for (std::string_view line; lines_->next(line);) {
    if (++number_ == 1 && line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);
    if (is_blank(line)) continue;
    std::string place = lines_->name() + ':' + std::to_string(number_);
    try {
      take({object_of(line, taken_ + skipped_ == 0), number_, place});
      ++taken_;
      return true;
    } catch (error const& problem) {
      place += std::string{": "} + problem.what();
      if (!skip_bad_lines_) throw error(place);
      constexpr std::size_t told = 10;
      if (++skipped_ <= told) problems_.push_back(std::move(place));
    }
  }
  if (taken_ == 0)
    throw error(lines_->name() + (skipped_ > 0 ? " has no usable line: all " + std::to_string(skipped_) + " are bad; " + problems_.front()
                                               : " has no lines; pass a file with one JSON object a line"));
  return false;
}

std::size_t read_json_lines(std::filesystem::path const& path, bool skip_bad_lines, json_line_reader::taker const& take) {
  json_line_reader reader(path, skip_bad_lines);
  while (reader.next(take)) {
  }
  return reader.skipped();
}

}  // namespace kedge::llm
