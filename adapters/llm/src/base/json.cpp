// SPDX-License-Identifier: Apache-2.0
#include <algorithm>      // count, find_if, max
#include <array>          // array
#include <limits>         // numeric_limits
#include <string_view>    // string_view
#include <unordered_map>  // unordered_map
#include <utility>        // move
#include <vector>         // vector

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/base/mapped_file.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
using members = std::vector<std::pair<std::string const, json>>;  // what an ordered object is underneath

// Numbers that Python's json writes and reads, and JSON has not.
constexpr std::array<std::pair<std::string_view, double>, 3> python_numbers{{{"NaN", std::numeric_limits<double>::quiet_NaN()},
                                                                             {"Infinity", std::numeric_limits<double>::infinity()},
                                                                             {"-Infinity", -std::numeric_limits<double>::infinity()}}};

/// The text with each of those numbers, where it stands outside of strings, as a string that begins with a zero byte; empty if there is none.
std::string with_python_numbers(std::string_view text) {
  std::string out;
  bool inside = false, found = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (inside && text[i] == '\\' && i + 1 < text.size()) {
      out.append(text.substr(i++, 2));
      continue;
    }
    if (text[i] == '"') inside = !inside;
    auto const number = std::find_if(python_numbers.begin(), python_numbers.end(), [&](auto const& n) { return !inside && text.substr(i).starts_with(n.first); });
    if (number == python_numbers.end()) {
      out += text[i];
      continue;
    }
    found = true;
    out.append("\"\\u0000").append(number->first).append("\"");
    i += number->first.size() - 1;
  }
  return found ? out : std::string();
}

members& members_of(json& object) { return object.get_ref<json::object_t&>(); }

/// Builds the document from the parser's events. Objects are kept as plain vectors while they grow; repeated keys are
/// looked for once, when the object is complete.
class builder : public nlohmann::json_sax<json> {
 public:
  builder(json_rules rules) : rules_(rules) {}

  json take() { return std::move(root_); }
  std::string const& problem() const { return problem_; }
  std::size_t position() const { return position_; }

  bool null() override { return add(json(nullptr)); }
  bool boolean(bool value) override { return add(json(value)); }
  bool number_integer(number_integer_t value) override { return add(json(value)); }
  bool number_unsigned(number_unsigned_t value) override { return add(json(value)); }
  bool number_float(number_float_t value, string_t const&) override { return add(json(value)); }
  bool string(string_t& value) override {
    if (!value.empty() && value.front() == '\0')
      for (auto const& [name, number] : python_numbers)
        if (value.compare(1, std::string::npos, name) == 0) return add(json(number));
    return add(json(std::move(value)));
  }
  bool binary(binary_t&) override { return refuse("binary value"); }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool key(string_t& value) override {
    frames_.back().key = std::move(value);
    return true;
  }
  bool end_object() override { return settle_keys() && close(); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t position, std::string const&, nlohmann::detail::exception const& why) override {
    position_ = position;
    return refuse(std::string{why.what()});
  }

 private:
  struct frame {
    json value;
    std::string key;
  };

  bool refuse(std::string why) {
    problem_ = std::move(why);
    return false;
  }

  bool add(json value) {
    if (frames_.empty()) {
      root_ = std::move(value);
      return true;
    }
    frame& top = frames_.back();
    if (top.value.is_object()) {
      members_of(top.value).emplace_back(std::move(top.key), std::move(value));
      return true;
    }
    auto& elements = top.value.get_ref<json::array_t&>();
    if (elements.size() >= rules_.array) return refuse("a list has more than " + std::to_string(rules_.array) + " elements");
    elements.push_back(std::move(value));
    return true;
  }

  bool open(json value) {
    if (frames_.size() >= rules_.depth) return refuse("nested deeper than " + std::to_string(rules_.depth) + " levels");
    frames_.push_back({std::move(value), {}});
    return true;
  }

  bool close() {
    json value = std::move(frames_.back().value);
    frames_.pop_back();
    return add(std::move(value));
  }

  bool settle_keys() {
    auto& object = members_of(frames_.back().value);
    std::unordered_map<std::string_view, std::size_t> last;
    last.reserve(object.size());
    bool repeated = false;
    for (std::size_t i = 0; i < object.size(); ++i) {
      auto const [position, fresh] = last.try_emplace(object[i].first, i);
      if (fresh) continue;
      if (rules_.unique_keys) return refuse("the key " + in_quotes(object[i].first) + " appears twice");
      object[position->second].second = std::move(object[i].second);  // first place, last value
      repeated = true;
    }
    if (repeated) {
      members kept;
      for (std::size_t i = 0; i < object.size(); ++i)
        if (last.at(object[i].first) == i) kept.emplace_back(object[i].first, std::move(object[i].second));
      object.swap(kept);
    }
    return true;
  }

  json_rules rules_;
  json root_;
  std::vector<frame> frames_;
  std::string problem_;
  std::size_t position_ = 0;
};

/// "line 3, column 7" of a byte position that counts from 1; "column 7" in a text of one line.
std::string place(std::string_view text, std::size_t position) {
  auto const before = text.substr(0, std::min(text.size(), position == 0 ? 0 : position - 1));
  auto const line = 1 + std::count(before.begin(), before.end(), '\n');
  auto const start = before.rfind('\n');
  auto const column = before.size() - (start == std::string_view::npos ? 0 : start + 1) + 1;
  std::string const within = "column " + std::to_string(column);
  return text.find('\n') == std::string_view::npos ? within : "line " + std::to_string(line) + ", " + within;
}

/// The reason alone from nlohmann's message: "[json.exception.parse_error.101] parse error at …: syntax error while …".
std::string reason(std::string const& message) {
  auto const mark = message.starts_with('[') ? message.find("] ") : std::string::npos;
  auto const start = std::min(message.find("syntax error "), mark == std::string::npos ? mark : mark + 2);
  std::string text = start == std::string::npos ? message : message.substr(start);
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  constexpr std::size_t longest = 160;
  if (text.size() > longest) text.resize(longest);
  return is_utf8(text) ? text : "a byte that is not UTF-8";
}

}  // namespace

bool is_utf8(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size();) {
    auto const lead = static_cast<unsigned char>(text[i]);
    std::size_t const length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (length == 0 || text.size() - i < length) return false;
    for (std::size_t k = 1; k < length; ++k)
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0U) != 0x80U) return false;
    auto const second = length > 1 ? static_cast<unsigned char>(text[i + 1]) : 0;
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||  // overlong; surrogates
        (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f))    // overlong; above U+10FFFF
      return false;
    i += length;
  }
  return true;
}

json parse_json(std::string_view text, std::string const& what, json_rules rules) {
  builder events(rules);
  if (!json::sax_parse(text.begin(), text.end(), &events)) {
    if (std::string const other = with_python_numbers(text); !other.empty())
      if (builder again(rules); json::sax_parse(other.begin(), other.end(), &again)) return again.take();
    std::string const where = events.position() > 0 ? " at " + place(text, events.position()) : "";
    throw error(what + ": not valid JSON" + where + ": " + reason(events.problem()));
  }
  return events.take();
}

json read_json_file(std::filesystem::path const& path, json_rules rules) {
  mapped_file const file(path);
  std::string_view text = file.text();
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  return parse_json(text, in_quotes(path.string()), rules);
}

void append_member(json& object, std::string key, json value) {
  members_of(object).emplace_back(std::move(key), std::move(value));
}

std::string reason_of(json::exception const& problem) { return reason(problem.what()); }

}  // namespace kedge::llm
