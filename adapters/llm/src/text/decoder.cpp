// SPDX-License-Identifier: Apache-2.0
#include "decoder.hpp"

#include <algorithm>  // unique
#include <array>      // array
#include <utility>    // move

#include "byte_alphabet.hpp"
#include "splitter.hpp"
#include "unicode.hpp"

namespace kedge::llm::text {
namespace {

using strings = std::vector<std::string>;

template <class Function>
class simple final : public decoder {
 public:
  explicit simple(Function function) : function_(std::move(function)) {}
  void apply(strings& tokens) const override { function_(tokens); }

 private:
  Function function_;
};

template <class Function>
std::unique_ptr<decoder const> make(Function function) {
  return std::make_unique<simple<Function> const>(std::move(function));
}

class sequence final : public decoder {
 public:
  explicit sequence(json const& parts) {
    if (!parts.is_array()) fail("decoder Sequence: 'decoders' is not an array");
    for (json const& part : parts)
      if (auto made = make_decoder(part)) parts_.push_back(std::move(made));
  }
  void apply(strings& tokens) const override {
    for (auto const& part : parts_) part->apply(tokens);
  }

 private:
  std::vector<std::unique_ptr<decoder const>> parts_;
};

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) text.replace(at, from.size(), to);
}

void fuse(strings& tokens) {
  std::string all;
  for (std::string const& token : tokens) all += token;
  tokens = {std::move(all)};
}

/// Stand-ins back to bytes; a token with any other character stays as it is.
void byte_level(strings& tokens) {
  std::string bytes;
  for (std::string const& token : tokens) {
    auto const raw = from_stand_ins(token);
    bytes += raw ? *raw : token;
  }
  tokens = {replace_invalid(bytes)};
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// The byte of a token "<0x41>"; -1 for any other.
int fallback_byte(std::string const& token) {
  if (token.size() != 6 || token.rfind("<0x", 0) != 0 || token[5] != '>') return -1;
  if (token[3] == '+') return hex_digit(token[4]);  // the reference reads the two digits as a signed number
  int const high = hex_digit(token[3]);
  int const low = hex_digit(token[4]);
  return high < 0 || low < 0 ? -1 : 16 * high + low;
}

void byte_fallback(strings& tokens) {
  strings out;
  std::string bytes;
  auto const flush = [&] {
    if (find_invalid(bytes) == std::string::npos) {
      if (!bytes.empty()) out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (int const byte = fallback_byte(token); byte >= 0) {
      bytes.push_back(static_cast<char>(static_cast<unsigned char>(byte)));
      continue;
    }
    flush();
    out.push_back(std::move(token));
  }
  flush();
  tokens = std::move(out);
}

std::unique_ptr<decoder const> make_strip(json const& definition) {
  constexpr std::string_view where = "decoder Strip";
  std::u32string const content = to_utf32(string_in(definition, "content", where));
  if (content.size() != 1) fail("decoder Strip: 'content' is not one character");
  std::int64_t const start = integer_in(definition, "start", where);
  std::int64_t const stop = integer_in(definition, "stop", where);
  return make([c = content[0], start, stop](strings& tokens) {
    for (std::string& token : tokens) {
      std::u32string const text = to_utf32(token);
      std::size_t begin = 0;
      std::size_t end = text.size();
      for (std::int64_t i = 0; i < start && begin < text.size() && text[begin] == c; ++i) ++begin;
      for (std::int64_t i = 0; i < stop && end > begin && text[end - 1] == c; ++i) --end;
      token = to_utf8(std::u32string_view(text).substr(begin, end - begin));
    }
  });
}

std::unique_ptr<decoder const> make_replace(json const& definition) {
  return make([expression = pattern_in(definition, "decoder Replace"), content = string_in(definition, "content", "decoder Replace")](strings& tokens) {
    split_workspace work;
    for (std::string& token : tokens) {
      if (token.empty()) continue;
      find_stretches(expression, token, work);
      std::string out;
      for (stretch const& s : work.stretches) out += s.match ? content : token.substr(s.begin, s.end - s.begin);
      token = std::move(out);
    }
  });
}

std::unique_ptr<decoder const> make_metaspace(json const& definition) {
  constexpr std::string_view where = "decoder Metaspace";
  std::string const mark = string_in(definition, "replacement", where);
  std::string const scheme = optional_string(definition, "prepend_scheme", where)
                                 .value_or(flag_in(definition, "add_prefix_space", true, where) ? "always" : "never");
  return make([mark, drops = scheme != "never"](strings& tokens) {
    for (std::size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], mark, i == 0 && drops ? "" : " ");
  });
}

/// English contractions and punctuation that word-piece decoding joins again.
void clean_up(std::string& text) {
  static constexpr std::string_view pairs[][2] = {{" .", "."},     {" ?", "?"},     {" !", "!"},           {" ,", ","},
                                                  {" ' ", "'"},    {" n't", "n't"}, {" 'm", "'m"},         {" do not", " don't"},
                                                  {" 's", "'s"},   {" 've", "'ve"}, {" 're", "'re"}};
  for (auto const& pair : pairs) replace_all(text, pair[0], pair[1]);
}

std::unique_ptr<decoder const> make_word_piece(json const& definition) {
  std::string const prefix = string_in(definition, "prefix", "decoder WordPiece");
  bool const clean = flag_in(definition, "cleanup", true, "decoder WordPiece");
  return make([prefix, clean](strings& tokens) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) tokens[i] = tokens[i].rfind(prefix, 0) == 0 ? tokens[i].substr(prefix.size()) : " " + tokens[i];
      if (clean) clean_up(tokens[i]);
    }
  });
}

std::unique_ptr<decoder const> make_ctc(json const& definition) {
  constexpr std::string_view where = "decoder CTC";
  return make([pad = string_in(definition, "pad_token", where), word = string_in(definition, "word_delimiter_token", where),
               clean = flag_in(definition, "cleanup", true, where)](strings& tokens) {
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    strings out;
    for (std::string& token : tokens) {
      replace_all(token, pad, "");
      if (clean) {
        clean_up(token);
        replace_all(token, word, " ");
      }
      if (!token.empty()) out.push_back(std::move(token));
    }
    tokens = std::move(out);
  });
}

}  // namespace

void clean_up_spaces(std::string& text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 10> steps{{{" .", "."},
                                                                                 {" ?", "?"},
                                                                                 {" !", "!"},
                                                                                 {" ,", ","},
                                                                                 {" ' ", "'"},
                                                                                 {" n't", "n't"},
                                                                                 {" 'm", "'m"},
                                                                                 {" 's", "'s"},
                                                                                 {" 've", "'ve"},
                                                                                 {" 're", "'re"}}};
  for (auto const& [from, to] : steps)
    for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) text.replace(at, from.size(), to);
}

std::unique_ptr<decoder const> make_decoder(json const& definition) {
  std::string const type = type_of(definition, "decoder");
  if (type.empty()) return nullptr;
  if (type == "Sequence") return std::make_unique<sequence const>(required(definition, "decoders", "decoder Sequence"));
  if (type == "ByteLevel") return make(byte_level);
  if (type == "ByteFallback") return make(byte_fallback);
  if (type == "Fuse") return make(fuse);
  if (type == "Strip") return make_strip(definition);
  if (type == "Replace") return make_replace(definition);
  if (type == "Metaspace") return make_metaspace(definition);
  if (type == "WordPiece") return make_word_piece(definition);
  if (type == "CTC") return make_ctc(definition);
  if (type == "BPEDecoder")
    return make([suffix = string_in(definition, "suffix", "decoder BPEDecoder")](strings& tokens) {
      for (std::size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], suffix, i + 1 == tokens.size() ? "" : " ");
    });
  fail("the decoder " + in_quotes(type) + " is not supported");
}

}  // namespace kedge::llm::text
