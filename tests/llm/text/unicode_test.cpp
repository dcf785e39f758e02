// SPDX-License-Identifier: Apache-2.0
#include "../adapters/llm/src/text/unicode.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../adapters/llm/src/text/pattern.hpp"
#include "kedge/llm/base/json.hpp"
#include "support/catch.hpp"

namespace {

namespace text = kedge::llm::text;
using json = nlohmann::ordered_json;

std::vector<std::string> matches(char const* expression, std::string const& in) {
  text::pattern const p(expression);
  text::pattern::scratch work;
  text::pattern::span found{};
  std::vector<std::string> out;
  for (std::size_t from = 0; from <= in.size() && p.find(in, from, found, work); from = found.end + (found.end == found.begin ? 1 : 0))
    out.push_back(in.substr(found.begin, found.end - found.begin));
  return out;
}

using strings = std::vector<std::string>;

}  // namespace

TEST_CASE("The four normal forms are those of the reference", "[unicode]") {
  json const golden = kedge::llm::read_json_file(std::filesystem::path(KEDGE_TESTS_DIR) / "golden" / "text" / "normal_forms.json");
  for (json const& c : golden) {
    auto const in = c["text"].get<std::string>();
    INFO(c.dump());
    REQUIRE(text::normalize(in, text::normal_form::nfc) == c["nfc"].get<std::string>());
    REQUIRE(text::normalize(in, text::normal_form::nfd) == c["nfd"].get<std::string>());
    REQUIRE(text::normalize(in, text::normal_form::nfkc) == c["nfkc"].get<std::string>());
    REQUIRE(text::normalize(in, text::normal_form::nfkd) == c["nfkd"].get<std::string>());
  }
}

TEST_CASE("Normalising twice changes nothing more", "[unicode]") {
  for (char32_t c = 0; c < 0x30000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string in;
    text::append(in, c);
    in += "\xCC\x81\xCC\xA3";
    for (auto const form : {text::normal_form::nfc, text::normal_form::nfd, text::normal_form::nfkc, text::normal_form::nfkd}) {
      std::string const once = text::normalize(in, form);
      if (text::normalize(once, form) != once) FAIL("U+" << std::hex << static_cast<unsigned>(c));
    }
  }
  SUCCEED("all code points of the first three planes");
}

TEST_CASE("Every code point survives UTF-8 and what is no UTF-8 is found", "[unicode]") {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string out;
    text::append(out, c);
    auto const back = text::decode(out.data());
    if (back.value != c || back.length != out.size() || text::find_invalid(out) != std::string::npos) FAIL("U+" << std::hex << static_cast<unsigned>(c));
  }
  for (std::string const bad : {"\x80", "\xC0\xAF", "\xC3", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80", "\xE2\x82"})
    CHECK(text::find_invalid("a" + bad) == 1);
}

TEST_CASE("Invalid bytes are replaced by maximal parts", "[unicode]") {
  std::string const r = "\xEF\xBF\xBD";
  CHECK(text::replace_invalid("a\xE2\x82z") == "a" + r + "z");
  CHECK(text::replace_invalid("\xF0\x9F\x98") == r);
  CHECK(text::replace_invalid("\xC0\xAF") == r + r);
  CHECK(text::replace_invalid("\xED\xA0\x80") == r + r + r);
  CHECK(text::replace_invalid("\xE2\x28\xA1") == r + "(" + r);
}

TEST_CASE("Categories and letter case know characters of every plane", "[unicode]") {
  CHECK(text::category_of(U'A') == text::category::Lu);
  CHECK(text::category_of(0x4E00) == text::category::Lo);
  CHECK(text::category_of(0x1F600) == text::category::So);
  CHECK(text::category_of(0x105C0) == text::category::Lo);
  CHECK(text::category_of(0x10FFFF) == text::category::Cn);
  CHECK(text::category_of(0x378) == text::category::Cn);
  CHECK(text::simple_lower(0x10400) == 0x10428);
  CHECK(text::simple_lower(0x1C4) == 0x1C6);
  CHECK(text::simple_lower(0x101) == 0x101);
  std::string upper;
  text::append_upper(upper, 0xDF);
  CHECK(upper == "SS");
}

TEST_CASE("Alternatives are tried in order and quantifiers are greedy or lazy or possessive", "[pattern]") {
  CHECK(matches("a|ab", "ab") == strings{"a"});
  CHECK(matches("a+", "aaab") == strings{"aaa"});
  CHECK(matches("a+?b?", "aab") == strings{"a", "ab"});
  CHECK(matches("a++a", "aaa").empty());
  CHECK(matches("(?>a+)b", "aab") == strings{"aab"});
  CHECK(matches("a{2}", "aaaaa") == strings{"aa", "aa"});
  CHECK(matches("a{2,}", "aaaaa") == strings{"aaaaa"});
  CHECK(matches("(?:ab){1,2}", "ababab") == strings{"abab", "ab"});
  CHECK(matches("x{a", "x{a") == strings{"x{a"});
  CHECK(matches("a*b", "aaab b") == strings{"aaab", "b"});
}

TEST_CASE("Looks ahead and behind take nothing", "[pattern]") {
  CHECK(matches("\\s+(?!\\S)", "a   b ") == strings{"  ", " "});
  CHECK(matches("a(?=b)", "ab ac") == strings{"a"});
  CHECK(matches("(?<=a)b", "ab bb") == strings{"b"});
  CHECK(matches("(?<!a)b", "ab bb") == strings{"b", "b"});
  CHECK(matches("(?<!\xC3\xA9)b", "\xC3\xA9" "b") == strings{});
}

TEST_CASE("Classes join and exclude and intersect", "[pattern]") {
  CHECK(matches("[a-c\\d]+", "abc1d2") == strings{"abc1", "2"});
  CHECK(matches("[^\\s\\p{L}]+", "ab, c!") == strings{",", "!"});
  CHECK(matches("[\\p{L}&&[^aeiou]]+", "banana") == strings{"b", "n", "n"});
  CHECK(matches("[]a]+", "]a") == strings{"]a"});
  CHECK(matches("[a\\-z-]+", "a-z") == strings{"a-z"});
  CHECK(matches("\\p{Han}+", "\xE4\xBD\xA0\xE5\xA5\xBDx") == strings{"\xE4\xBD\xA0\xE5\xA5\xBD"});
  CHECK(matches("\\P{L}", "a1") == strings{"1"});
  CHECK(matches(".+", "a\nb") == strings{"a", "b"});
}

TEST_CASE("Case folds where it is asked to with long s and Kelvin sign", "[pattern]") {
  CHECK(matches("(?i:'s|k)", "'S 's '\xC5\xBF K \xE2\x84\xAA") == strings{"'S", "'s", "'\xC5\xBF", "K", "\xE2\x84\xAA"});
  CHECK(matches("a(?i)b|c", "aB aC ac C") == strings{"aB", "aC", "ac"});
  CHECK(matches("(?i:\xC3\xA9)", "\xC3\x89") == strings{"\xC3\x89"});
}

TEST_CASE("Anchors hold at lines and text and words", "[pattern]") {
  CHECK(matches("^a", "a\na") == strings{"a", "a"});
  CHECK(matches("\\Aa", "a\na") == strings{"a"});
  CHECK(matches("a$", "a\nab") == strings{"a"});
  CHECK(matches("\\s+$", "a \n ") == strings{" \n "});
  CHECK(matches("\\bab\\b", "ab abc") == strings{"ab"});
}
