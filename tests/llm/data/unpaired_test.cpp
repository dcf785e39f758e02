// SPDX-License-Identifier: Apache-2.0

// Single completions with labels: how lines are read, and pairs taken apart.

#include <algorithm>
#include <string>
#include <vector>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/preferences.hpp>
#include <kedge/llm/data/unpaired.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/text/chat_template.hpp>
#include <kedge/llm/text/tokenizer.hpp>

#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
using json = nlohmann::ordered_json;

namespace {

struct small_model {
  checkpoint files = checkpoint::open(KEDGE_TESTS_DIR "/golden/gguf/qwen3.gguf");
  tokenizer words = tokenizer::from_json(files.tokenizer);
  chat_template templating{"{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] }}{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"};
  conversation_encoder encoder{words, &templating, special_tokens(files.tokenizer_config)};
};

small_model const& model() {
  static small_model const one;
  return one;
}

// An example as text again.
struct words_of {
  std::string prompt, completion;
  bool desirable = true;
  std::size_t line = 0;
};

struct told_reading {
  std::vector<words_of> examples;
  reading_report report;
};

told_reading read(std::string const& text, reading const& how = {}, std::size_t max_length = 0) {
  scratch_folder const folder;
  write_file(folder / "data.jsonl", text);
  told_reading out;
  for (unpaired_ids const& one : read_unpaired(folder / "data.jsonl", model().encoder, how, max_length, &out.report))
    out.examples.push_back({model().words.decode(one.prompt, true), model().words.decode(one.completion, true), one.desirable, one.line});
  return out;
}

bool tells(told_reading const& reading, std::string const& what) {
  return std::any_of(reading.report.notes.begin(), reading.report.notes.end(), [&](std::string const& note) { return note.find(what) != std::string::npos; });
}

std::string const plain = R"({"prompt": "a", "completion": " b", "label": true})" "\n";

}  // namespace

TEST_CASE("a line of prompt and completion and label is one example", "[data]") {
  auto const all =
      read(plain + R"({"label": false, "completion": [{"role": "assistant", "content": "c"}], "prompt": [{"role": "user", "content": "d"}], "tools": null})" "\n" +
           R"({"system": "s", "prompt": "p", "completion": "q", "label": 0})" "\n" + R"({"prompt": "a", "completion": " b", "label": 1.0, "score": 3})" "\n")
          .examples;
  REQUIRE(all.size() == 4);
  CHECK(all[0].prompt == "a");
  CHECK(all[0].completion == " b");
  CHECK(all[0].desirable);
  CHECK_FALSE(all[1].desirable);
  CHECK(all[1].prompt == "<user>d<assistant>");
  CHECK(all[1].completion == "c");
  CHECK_FALSE(all[2].desirable);
  CHECK(all[2].prompt == "<system>s<user>p<assistant>");
  CHECK(all[3].desirable);
  CHECK(all[3].line == 4);
  CHECK(parse_unpaired({json{{"prompt", "a"}, {"completion", "b"}, {"label", 1}, {"score", 3}}, 1, "x", 0}).examples.at(0).extra == json{{"score", 3}});
}

TEST_CASE("pairs are taken apart in the order of TRL", "[data]") {
  std::string text;
  for (int i = 0; i < 1003; ++i) text += json{{"prompt", "p"}, {"chosen", " c" + std::to_string(i)}, {"rejected", " r" + std::to_string(i)}}.dump() + "\n";
  auto const all = read(text).examples;
  REQUIRE(all.size() == 2006);
  CHECK(all[0].completion == " c0");
  CHECK(all[999].completion == " c999");
  CHECK(all[1000].completion == " r0");
  CHECK(all[1999].completion == " r999");
  CHECK(all[2000].completion == " c1000");
  CHECK(all[2003].completion == " r1000");
  CHECK(all[2002].desirable);
  CHECK_FALSE(all[2003].desirable);
  auto const two = read(text, {.most = 2}).examples;
  CHECK(two.size() == 4);
  CHECK(two[2].completion == " r0");
  auto const implicit = read(R"({"chosen": "Go west", "rejected": "Go east"})" "\n").examples;
  CHECK(implicit[0].prompt == "Go");
  CHECK(implicit[1].completion == " east");
}

TEST_CASE("pairs of another format are taken apart too", "[data]") {
  std::string const line = R"({"system": "s", "question": "q", "chosen": "good", "rejected": "bad"})" "\n";
  auto const all = read(line, {.format = data_format::orca}).examples;
  REQUIRE(all.size() == 2);
  CHECK(all[0].prompt == "<system>s<user>q<assistant>");
  CHECK(all[1].completion == "bad");
}

TEST_CASE("what is odd about single completions is told once", "[data]") {
  auto const odd = read(R"({"prompt": "", "completion": "b", "label": true})" "\n" + plain + R"({"prompt": "a long prompt", "completion": "a long prompt and more", "label": true})" "\n", {}, 4);
  CHECK(tells(odd, "1 example, first at line 1: the prompt has no tokens"));
  CHECK(tells(odd, "1 example, first at line 3: a completion begins with the prompt once more"));
  CHECK(tells(odd, "1 example, first at line 3: cut, being longer than max_length"));
}

TEST_CASE("where pairs are wanted a single completion is told what trains on it", "[data]") {
  scratch_folder const folder;
  write_file(folder / "data.jsonl", plain);
  CHECK_THROWS_WITH(read_preferences(folder / "data.jsonl", false), contains("data.jsonl':1") && contains("kedge kto"));
}

TEST_CASE("lines that are no single completion are refused or counted", "[data]") {
  CHECK_THROWS_WITH(read(R"({"prompt": "a", "completion": "b"})" "\n"), contains("data.jsonl':1") && contains("the key 'label' is missing"));
  CHECK_THROWS_WITH(read(R"({"prompt": "a", "completion": "b", "label": "yes"})" "\n"), contains("label is \"yes\"; it has to be true or false"));
  CHECK_THROWS_WITH(read(R"({"prompt": "a", "completion": "b", "label": 2})" "\n"), contains("label is 2"));
  CHECK_THROWS_WITH(read(R"({"completion": "b", "label": true})" "\n"), contains("the key 'prompt' is missing"));
  CHECK_THROWS_WITH(read(R"({"prompt": [{"role": "user", "content": "d"}], "completion": "b", "label": true})" "\n"), contains("both texts or both lists of messages"));
  std::string const pair = R"({"prompt": "a", "chosen": " b", "rejected": " c"})" "\n";
  CHECK_THROWS_WITH(read(plain + pair), contains("data.jsonl':2") && contains("a preference pair among single completions"));
  CHECK_THROWS_WITH(read(pair + plain), contains("no preference pair, as the lines before it are"));
  auto const rest = read("{}\n" + pair + plain + pair, {.skip_bad_lines = true});
  CHECK(rest.examples.size() == 4);
  CHECK(rest.report.skipped == 2);
}
