// SPDX-License-Identifier: Apache-2.0
#include "pre_tokenizer.hpp"

#include <utility>  // move, swap

#include "byte_alphabet.hpp"
#include "unicode.hpp"

namespace kedge::llm::text {
namespace {

constexpr std::string_view gpt2_expression =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// \w+|[^\w\s]+ with the \w of is_plain_word.
constexpr std::string_view whitespace_expression =
    R"([[\w&&[^\u00B2\u00B3\u00B9\u00BC-\u00BE]]\u200C\u200D]+|[[^\w\s\u200C\u200D]\u00B2\u00B3\u00B9\u00BC-\u00BE]+)";

/// Splits every piece by `find`, which fills t.work.stretches for one piece.
template <class Find>
void split_each(split_text& t, split_behavior behavior, Find find) {
  t.next.clear();
  for (piece const& p : t.pieces) {
    find(t.view(p), t.work);
    cut(t.work.stretches, behavior, p, t.next);
  }
  t.pieces.swap(t.next);
}

/// Rewrites every piece: `write` appends the new text of a piece to the string.
template <class Write>
void rewrite_each(split_text& t, Write write) {
  t.next_text.clear();
  t.next.clear();
  for (piece const& p : t.pieces) {
    auto const begin = static_cast<std::uint32_t>(t.next_text.size());
    write(p, t.view(p), t.next_text);
    if (t.next_text.size() > 0xFFFFFFF0U) throw error("tokenizer: a text of more than 4 GiB; split it");
    auto const end = static_cast<std::uint32_t>(t.next_text.size());
    if (end > begin) t.next.push_back({begin, end, p.at_origin});
  }
  t.text.swap(t.next_text);
  t.pieces.swap(t.next);
}

class split_by_pattern final : public splitting_stage {
 public:
  split_by_pattern(pattern expression, split_behavior behavior, bool invert)
      : expression_(std::move(expression)), behavior_(behavior), invert_(invert) {}
  void apply(split_text& t) const override {
    split_each(t, behavior_, [this](std::string_view text, split_workspace& work) {
      find_stretches(expression_, text, work);
      if (invert_)
        for (stretch& s : work.stretches) s.match = !s.match;
    });
  }

 private:
  pattern expression_;
  split_behavior behavior_;
  bool invert_;
};

template <class Predicate>
class split_by_character final : public splitting_stage {
 public:
  split_by_character(Predicate matches, split_behavior behavior) : matches_(matches), behavior_(behavior) {}
  void apply(split_text& t) const override {
    split_each(t, behavior_, [this](std::string_view text, split_workspace& work) { find_stretches_if(text, matches_, work.stretches); });
  }

 private:
  Predicate matches_;
  split_behavior behavior_;
};

template <class Predicate>
std::unique_ptr<splitting_stage const> make_split(Predicate matches, split_behavior behavior) {
  return std::make_unique<split_by_character<Predicate> const>(matches, behavior);
}

class byte_level final : public splitting_stage {
 public:
  byte_level(json const& definition, bool raw)
      : add_space_(flag_in(definition, "add_prefix_space", true, "pre_tokenizer ByteLevel")),
        use_regex_(flag_in(definition, "use_regex", true, "pre_tokenizer ByteLevel")),
        raw_(raw) {}

  void apply(split_text& t) const override {
    if (add_space_)
      rewrite_each(t, [](piece const&, std::string_view text, std::string& out) {
        if (text[0] != ' ') out += ' ';
        out += text;
      });
    if (use_regex_)
      split_each(t, split_behavior::isolated, [this](std::string_view text, split_workspace& work) { find_stretches(words_, text, work); });
    if (!raw_)
      rewrite_each(t, [](piece const&, std::string_view text, std::string& out) {
        for (char const b : text) append(out, byte_alphabet()[static_cast<unsigned char>(b)]);
      });
  }

 private:
  bool add_space_, use_regex_, raw_;
  pattern words_{gpt2_expression};
};

class metaspace final : public splitting_stage {
 public:
  explicit metaspace(json const& definition) {
    constexpr std::string_view where = "pre_tokenizer Metaspace";
    replacement_ = string_in(definition, "replacement", where);
    if (to_utf32(replacement_).size() != 1) fail("pre_tokenizer Metaspace: 'replacement' is not one character");
    scheme_ = optional_string(definition, "prepend_scheme", where)
                  .value_or(flag_in(definition, "add_prefix_space", true, where) ? "always" : "never");
    if (scheme_ != "always" && scheme_ != "never" && scheme_ != "first")
      fail("pre_tokenizer Metaspace: the prepend_scheme " + in_quotes(scheme_) + " is not supported");
    split_ = flag_in(definition, "split", true, where);
  }

  void apply(split_text& t) const override {
    rewrite_each(t, [this](piece const& p, std::string_view text, std::string& out) {
      bool const marked = text[0] == ' ' || text.substr(0, replacement_.size()) == replacement_;
      if (!marked && (scheme_ == "always" || (scheme_ == "first" && p.at_origin))) out += replacement_;
      for (char const c : text) {
        if (c == ' ')
          out += replacement_;
        else
          out += c;
      }
    });
    if (!split_) return;
    char32_t const mark = decode(replacement_.data()).value;
    split_each(t, split_behavior::merged_with_next, [mark](std::string_view text, split_workspace& work) {
      find_stretches_if(text, [mark](char32_t c) { return c == mark; }, work.stretches);
    });
  }

 private:
  std::string replacement_, scheme_;
  bool split_ = true;
};

class fixed_length final : public splitting_stage {
 public:
  explicit fixed_length(std::int64_t length) : length_(length) {
    if (length < 1) fail("pre_tokenizer FixedLength: 'length' is not positive");
  }
  void apply(split_text& t) const override {
    split_each(t, split_behavior::isolated, [this](std::string_view text, split_workspace& work) {
      work.stretches.clear();
      std::int64_t count = 0;
      std::uint32_t begin = 0;
      for (std::uint32_t i = 0; i < text.size();) {
        i += length_of(text[i]);
        if (++count % length_ != 0 && i < text.size()) continue;
        work.stretches.push_back({begin, i, true});
        begin = i;
      }
    });
  }

 private:
  std::int64_t length_;
};

std::unique_ptr<splitting_stage const> make_stage(json const& definition, std::string const& type, bool raw_bytes) {
  std::string const where = "pre_tokenizer " + type;
  if (type == "ByteLevel") return std::make_unique<byte_level const>(definition, raw_bytes);
  if (type == "Metaspace") return std::make_unique<metaspace const>(definition);
  if (type == "Split")
    return std::make_unique<split_by_pattern const>(pattern_in(definition, where), split_behavior_in(definition, where),
                                                    flag_in(definition, "invert", false, where));
  if (type == "Digits")
    return make_split(is_numeric, flag_in(definition, "individual_digits", false, where) ? split_behavior::isolated
                                                                                        : split_behavior::contiguous);
  if (type == "Punctuation")
    return make_split(is_punctuation, member(definition, "behavior") == nullptr ? split_behavior::isolated
                                                                                : split_behavior_in(definition, where));
  if (type == "WhitespaceSplit") return make_split(is_white_space, split_behavior::removed);
  if (type == "Whitespace")
    return std::make_unique<split_by_pattern const>(pattern(whitespace_expression), split_behavior::removed, true);
  if (type == "CharDelimiterSplit") {
    std::u32string const delimiter = to_utf32(string_in(definition, "delimiter", where));
    if (delimiter.size() != 1) fail(where + ": 'delimiter' is not one character");
    return make_split([c = delimiter[0]](char32_t value) { return value == c; }, split_behavior::removed);
  }
  if (type == "FixedLength")
    return std::make_unique<fixed_length const>(member(definition, "length") == nullptr ? 5 : integer_in(definition, "length", where));
  fail("the pre_tokenizer " + in_quotes(type) + " is not supported");
}

/// The leaves of nested sequences, in order.
void flatten(json const& definition, std::vector<json const*>& out, int depth = 0) {
  std::string const type = type_of(definition, "pre_tokenizer");
  if (type.empty()) return;
  if (type != "Sequence") return out.push_back(&definition);
  json const& parts = required(definition, "pretokenizers", "pre_tokenizer Sequence");
  if (!parts.is_array() || depth > 16) fail("pre_tokenizer Sequence: 'pretokenizers' is not an array, or nested too deep");
  for (json const& part : parts) flatten(part, out, depth + 1);
}

}  // namespace

pre_tokenizer make_pre_tokenizer(json const& definition, bool raw_bytes) {
  std::vector<json const*> leaves;
  flatten(definition, leaves);
  pre_tokenizer out;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    std::string const type = type_of(*leaves[i], "pre_tokenizer");
    bool const last = i + 1 == leaves.size();
    out.ends_with_bytes = last && type == "ByteLevel";
    out.stages.push_back(make_stage(*leaves[i], type, raw_bytes && out.ends_with_bytes));
  }
  return out;
}

}  // namespace kedge::llm::text
