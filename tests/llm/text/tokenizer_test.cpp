// SPDX-License-Identifier: Apache-2.0
#include "kedge/llm/text/tokenizer.hpp"

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "kedge/llm/base/error.hpp"
#include "kedge/llm/base/json.hpp"
#include "support/catch.hpp"

namespace {

using json = nlohmann::ordered_json;
using kedge::llm::tokenizer;
using kedge::testing::contains;
using ids = std::vector<std::int32_t>;

json read(std::string const& name) {
  return kedge::llm::read_json_file(std::filesystem::path(KEDGE_TESTS_DIR) / "golden" / "text" / name);
}

/// One byte a token, "ab" and "abab" above them.
json byte_pairs() {
  json vocab = json::object();
  for (char const* const token : {"a", "b", "c", "ab", "abab"}) vocab[token] = vocab.size();
  json out = {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", json::array({"a b", json::array({"ab", "ab"})})}}}};
  out["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  out["decoder"] = {{"type", "ByteLevel"}};
  return out;
}

json with(json definition, std::string const& pointer, json value) {
  definition[json::json_pointer(pointer)] = std::move(value);
  return definition;
}

}  // namespace

TEST_CASE("Every tokenizer gives the ids and texts of the reference on random Unicode", "[tokenizer]") {
  std::size_t files = 0;
  for (auto const& entry : std::filesystem::directory_iterator(std::filesystem::path(KEDGE_TESTS_DIR) / "golden" / "text")) {
    std::string const name = entry.path().filename().string();
    if (name.rfind("tokenizer_", 0) != 0) continue;
    ++files;
    json const golden = read(name);
    auto const t = tokenizer::from_json(golden["tokenizer"]);
    for (json const& c : golden["cases"]) {
      auto const text = c["text"].get<std::string>();
      INFO(name << ": " << c["text"].dump());
      REQUIRE(t.encode(text, false) == c["ids"].get<ids>());
      REQUIRE(t.encode(text, true) == c["framed"].get<ids>());
      REQUIRE(t.decode(c["ids"].get<ids>(), false) == c["decoded"].get<std::string>());
      REQUIRE(t.decode(c["ids"].get<ids>(), true) == c["skipped"].get<std::string>());
    }
  }
  CHECK(files == 14);
}

TEST_CASE("Merges go by rank and then from the left", "[tokenizer]") {
  auto const t = tokenizer::from_json(byte_pairs());
  CHECK(t.encode("ababab", false) == ids{4, 3});
  CHECK(t.encode("bab", false) == ids{1, 3});
  CHECK(t.encode("", false).empty());
}

TEST_CASE("A long word merges like a short one", "[tokenizer]") {
  auto const t = tokenizer::from_json(byte_pairs());
  std::string word;
  for (int i = 0; i < 250'000; ++i) word += "abab";
  CHECK(t.encode(word, false) == ids(250'000, 4));
  ids const odd = t.encode("c" + word + "ab", false);
  REQUIRE(odd.size() == 250'002);
  CHECK(odd.front() == 2);
  CHECK(odd.back() == 3);
}

TEST_CASE("Without an unknown token what no token spells is dropped", "[tokenizer]") {
  auto const t = tokenizer::from_json(byte_pairs());
  CHECK(t.encode("a?b", false) == ids{3});
}

TEST_CASE("Encoding is the same from several threads at once", "[tokenizer]") {
  json const golden = read("tokenizer_smollm.json");
  auto const t = tokenizer::from_json(golden["tokenizer"]);
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (std::size_t k = 0; k < wrong.size(); ++k)
    threads.emplace_back([&, k] {
      for (int round = 0; round < 5; ++round)
        for (json const& c : golden["cases"]) wrong[k] += t.encode(c["text"].get<std::string>(), false) == c["ids"].get<ids>() ? 0 : 1;
    });
  for (auto& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4));
}

TEST_CASE("Tokens and ids map to each other", "[tokenizer]") {
  auto const t = tokenizer::from_json(read("tokenizer_smollm.json")["tokenizer"]);
  REQUIRE(t.id_of("<|im_start|>").has_value());
  CHECK(t.token_of(*t.id_of("<|im_start|>")) == "<|im_start|>");
  CHECK(t.is_special(*t.id_of("<|im_start|>")));
  CHECK_FALSE(t.is_special(*t.id_of("a")));
  CHECK_FALSE(t.id_of("no such token").has_value());
  CHECK(t.size() == 600);
  CHECK_THROWS_WITH(t.token_of(600), contains("no token has the id 600"));
  CHECK(t.decode(ids{-1, 600, 1 << 30}, false).empty());
}

TEST_CASE("An added token beside the vocabulary gets the next free id", "[tokenizer]") {
  json definition = byte_pairs();
  definition["added_tokens"] = json::array({{{"id", 70}, {"content", "<x>"}, {"special", true}}, {{"id", 71}, {"content", "ab"}, {"special", false}}});
  auto const t = tokenizer::from_json(definition);
  CHECK(t.encode("c<x>abab", false) == ids{2, 5, 3, 3});
  CHECK(t.size() == 6);
}

TEST_CASE("Text that is not UTF-8 is refused with its place", "[tokenizer]") {
  auto const t = tokenizer::from_json(byte_pairs());
  CHECK_THROWS_WITH(t.encode("ab\xC0\x80", false), contains("not valid UTF-8 at byte 2"));
  CHECK_THROWS_WITH(t.encode("\xED\xA0\x80", false), contains("not valid UTF-8 at byte 0"));
}

TEST_CASE("An unsupported component of tokenizer.json is named", "[tokenizer]") {
  auto const made = [](json const& definition) { return [definition] { (void)tokenizer::from_json(definition); }; };
  json const good = byte_pairs();
  CHECK_THROWS_WITH(made(with(good, "/model/type", "WordPiece"))(), contains("model 'WordPiece' is not supported"));
  CHECK_THROWS_WITH(made(with(good, "/normalizer", {{"type", "BertNormalizer"}}))(), contains("normalizer 'BertNormalizer' is not supported"));
  CHECK_THROWS_WITH(made(with(good, "/pre_tokenizer", {{"type", "UnicodeScripts"}}))(), contains("pre_tokenizer 'UnicodeScripts'"));
  CHECK_THROWS_WITH(made(with(good, "/post_processor", {{"type", "Other"}}))(), contains("post_processor 'Other'"));
  CHECK_THROWS_WITH(made(with(good, "/decoder", {{"type", "Other"}}))(), contains("decoder 'Other'"));
  CHECK_THROWS_WITH(made(with(good, "/model/dropout", 0.1))(), contains("dropout"));
  CHECK_THROWS_WITH(made(with(good, "/model/merges", json::array({"a z"})))(), contains("merge 0 needs 'z'"));
  CHECK_THROWS_WITH(made(with(good, "/model/merges", json::array({"a"})))(), contains("merge 0 is not a pair"));
  CHECK_THROWS_WITH(made(with(good, "/model/vocab/a", "x"))(), contains("the id of 'a' is not an integer"));
  CHECK_THROWS_WITH(made(with(good, "/model/vocab/a", -5))(), contains("out of range"));
  CHECK_THROWS_WITH(made(json::array())(), contains("not an object"));
  CHECK_THROWS_WITH(made(json::object())(), contains("lacks 'model'"));
}

TEST_CASE("An unsupported regular expression is named with its place", "[tokenizer]") {
  auto const split_by = [](char const* expression) {
    json definition = byte_pairs();
    definition["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", expression}}}, {"behavior", "Isolated"}, {"invert", false}};
    return tokenizer::from_json(definition);
  };
  CHECK_THROWS_WITH(split_by("a\\1"), contains("the escape \\1"));
  CHECK_THROWS_WITH(split_by("\\p{Klingon}"), contains("\\p{Klingon}"));
  CHECK_THROWS_WITH(split_by("(?<name>a)"), contains("group"));
  CHECK_THROWS_WITH(split_by("[a-"), contains("the end of the expression"));
  CHECK_THROWS_WITH(split_by("(a|b"), contains("group without )"));
  CHECK_THROWS_WITH(split_by("(a*)*"), contains("repeats without limit"));
  CHECK_THROWS_WITH(split_by("(?<=a+)b"), contains("look-behind of varying length"));
  CHECK_THROWS_WITH(split_by("((a{1,999}){1,999}){1,999}"), contains("too large"));
  CHECK_THROWS_WITH(split_by("a{5,2}"), contains("maximum is below"));
  std::string const nested = std::string(500, '(') + "a" + std::string(500, ')');
  CHECK_THROWS_WITH(split_by(nested.c_str()), contains("deep"));
}

TEST_CASE("An expression that backtracks without end is stopped", "[tokenizer]") {
  json definition = byte_pairs();
  definition["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "(a|aa)+c"}}}, {"behavior", "Isolated"}, {"invert", false}};
  auto const t = tokenizer::from_json(definition);
  CHECK_THROWS_WITH(t.encode(std::string(60, 'a') + "b", false), contains("too many steps"));
  CHECK(t.encode("aac", false).size() == 3);
}

TEST_CASE("A split keeps or drops or joins its matches as its behavior says", "[tokenizer]") {
  // merges can't cross pieces, so the ids tell where the text was cut: ab is 3, a and b apart are 0 and 1
  auto const encode = [](char const* behavior, bool invert) {
    json definition = byte_pairs();
    definition["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"String", "a"}}}, {"behavior", behavior}, {"invert", invert}};
    return tokenizer::from_json(definition).encode("baab", false);
  };
  CHECK(encode("Isolated", false) == ids{1, 0, 0, 1});
  CHECK(encode("Removed", false) == ids{1, 1});
  CHECK(encode("Removed", true) == ids{0, 0});
  CHECK(encode("MergedWithPrevious", false) == ids{1, 0, 0, 1});
  CHECK(encode("MergedWithNext", false) == ids{1, 0, 3});
  CHECK(encode("Contiguous", false) == ids{1, 0, 0, 1});
}
