// SPDX-License-Identifier: Apache-2.0
#include "normalizer.hpp"

#include <utility>  // move
#include <vector>   // vector

#include "byte_alphabet.hpp"
#include "splitter.hpp"
#include "unicode.hpp"

namespace kedge::llm::text {
namespace {

template <class Function>
class simple final : public normalizer {
 public:
  explicit simple(Function function) : function_(std::move(function)) {}
  void apply(std::string& text, bool& front_lost) const override { function_(text, front_lost); }

 private:
  Function function_;
};

template <class Function>
std::unique_ptr<normalizer const> make(Function function) {
  return std::make_unique<simple<Function> const>(std::move(function));
}

class sequence final : public normalizer {
 public:
  explicit sequence(json const& parts) {
    if (!parts.is_array()) fail("normalizer Sequence: 'normalizers' is not an array");
    for (json const& part : parts)
      if (auto made = make_normalizer(part)) parts_.push_back(std::move(made));
  }
  void apply(std::string& text, bool& front_lost) const override {
    for (auto const& part : parts_) part->apply(text, front_lost);
  }

 private:
  std::vector<std::unique_ptr<normalizer const>> parts_;
};

std::unique_ptr<normalizer const> make_form(normal_form form) {
  return make([form](std::string& text, bool&) { text = normalize(text, form); });
}

std::unique_ptr<normalizer const> make_replace(json const& definition) {
  return make([expression = pattern_in(definition, "normalizer Replace"),
               content = string_in(definition, "content", "normalizer Replace")](std::string& text, bool& front_lost) {
    if (text.empty()) return;
    split_workspace work;
    find_stretches(expression, text, work);
    std::string out;
    out.reserve(text.size());
    for (stretch const& s : work.stretches) {
      if (s.match)
        out += content;
      else
        out.append(text, s.begin, s.end - s.begin);
      front_lost = front_lost || (s.match && s.begin == 0 && s.end > 0 && content.empty());
    }
    text = std::move(out);
  });
}

/// Keeps, drops or changes every code point: `map` returns the new one, or `dropped`.
constexpr char32_t dropped = 0x110000;
template <class Map>
std::unique_ptr<normalizer const> make_map(Map map) {
  return make([map](std::string& text, bool& front_lost) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size();) {
      auto const [value, length] = decode(text.data() + i);
      char32_t const mapped = map(value);
      if (mapped != dropped)
        append(out, mapped);
      else if (i == 0)
        front_lost = true;
      i += length;
    }
    text = std::move(out);
  });
}

/// SentencePiece's "nmt" clean-up of controls and spaces.
char32_t nmt(char32_t c) {
  if ((c >= 1 && c <= 8) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F) return dropped;
  bool const space = c == 9 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                     c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
  return space ? U' ' : c;
}

std::unique_ptr<normalizer const> make_strip(json const& definition) {
  bool const left = flag_in(definition, "strip_left", false, "normalizer Strip");
  bool const right = flag_in(definition, "strip_right", false, "normalizer Strip");
  return make([left, right](std::string& text, bool& front_lost) {
    std::size_t begin = 0;
    std::size_t end = text.size();
    while (left && begin < end && is_white_space(decode(text.data() + begin).value)) begin += length_of(text[begin]);
    while (right && end > begin && is_white_space(decode(text.data() + before(text, end)).value)) end = before(text, end);
    front_lost = front_lost || begin > 0;
    text = text.substr(begin, end - begin);
  });
}

}  // namespace

std::unique_ptr<normalizer const> make_normalizer(json const& definition) {
  std::string const type = type_of(definition, "normalizer");
  if (type.empty()) return nullptr;
  if (type == "Sequence") return std::make_unique<sequence const>(required(definition, "normalizers", "normalizer Sequence"));
  if (type == "NFC") return make_form(normal_form::nfc);
  if (type == "NFD") return make_form(normal_form::nfd);
  if (type == "NFKC") return make_form(normal_form::nfkc);
  if (type == "NFKD") return make_form(normal_form::nfkd);
  if (type == "Replace") return make_replace(definition);
  if (type == "Nmt") return make_map(nmt);
  if (type == "StripAccents") return make_map([](char32_t c) { return is_combining_mark(c) ? dropped : c; });
  if (type == "Strip") return make_strip(definition);
  if (type == "ByteLevel") return make([](std::string& text, bool&) { text = to_stand_ins(text); });
  if (type == "Prepend")
    return make([prefix = string_in(definition, "prepend", "normalizer Prepend")](std::string& text, bool&) {
      if (!text.empty()) text.insert(0, prefix);
    });
  if (type == "Lowercase")
    return make([](std::string& text, bool&) {
      std::string out;
      out.reserve(text.size());
      for (std::size_t i = 0; i < text.size(); i += length_of(text[i])) append_lower(out, decode(text.data() + i).value);
      text = std::move(out);
    });
  fail("the normalizer " + in_quotes(type) + " is not supported");
}

}  // namespace kedge::llm::text
