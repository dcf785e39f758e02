// SPDX-License-Identifier: Apache-2.0
#include <utility>  // exchange, move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/data/jsonl.hpp>

#include "byte_source.hpp"
#include "data_files.hpp"
#include "fields.hpp"
#include "schemas/schema_reader.hpp"

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
    : json_line_reader(path, {.format = data_format::trl, .skip_bad_lines = skip_bad_lines}) {}

json_line_reader::json_line_reader(std::filesystem::path const& path, reading const& how, std::optional<data_kind> wanted)
    : files_(std::make_unique<data_files>(path)),
      schema_(std::make_unique<schema_reader>(how, wanted)),
      skip_bad_lines_(how.skip_bad_lines),
      most_(how.most) {}

json_line_reader::~json_line_reader() = default;

std::string const& json_line_reader::name() const noexcept { return files_->name(); }

std::vector<std::string> json_line_reader::notes() const { return schema_->notes(); }

void json_line_reader::skip(std::string const& place, std::string const& why) {
  if (!skip_bad_lines_) throw error(place + ": " + why);
  constexpr std::size_t told = 10;
  if (++skipped_ <= told) problems_.push_back(place + ": " + why);
}

// returns whether `take` took it
bool json_line_reader::give(taker const& take, json_line line) {
  std::string const place = line.place;
  line.index = given_++;
  try {
    take(std::move(line));
    ++taken_;
    return true;
  } catch (error const& problem) {
    skip(place, problem.what());
    return false;
  }
}

bool json_line_reader::next(taker const& take) {
  if (most_ > 0 && taken_ == most_) return false;
  for (std::string_view line;;) {
    for (json_line made; schema_->take(made);)
      if (give(take, std::move(made))) return true;
    if (at_end_) break;
    if (!files_->next(line)) {
      at_end_ = true;
      schema_->finish();
      continue;
    }
    if (is_blank(line)) continue;
    std::string const place = files_->name() + ':' + std::to_string(files_->number());
    try {
      bool const first = std::exchange(first_, false);
      schema_->add({object_of(line, first), files_->number(), place, 0});
    } catch (error const& problem) {
      skip(place, problem.what());
    }
  }
  if (taken_ == 0)
    throw error(files_->name() + (skipped_ > 0 ? " has no usable line: all " + std::to_string(skipped_) + " are bad; " + problems_.front()
                                  : given_ == 0 && first_ ? " has no lines; pass a file with one JSON object a line"
                                                          : " has no usable line: no prompt has two completions of which one is better"));
  return false;
}

std::size_t read_json_lines(std::filesystem::path const& path, bool skip_bad_lines, json_line_reader::taker const& take) {
  json_line_reader reader(path, skip_bad_lines);
  while (reader.next(take)) {
  }
  return reader.skipped();
}

}  // namespace kedge::llm
