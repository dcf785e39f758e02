// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdlib>
#include <thread>

#include <sys/stat.h>

#include <kedge/llm/data/demonstrations.hpp>
#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/data/preferences.hpp>
#include <kedge/llm/data/prompts.hpp>
#include <kedge/llm/data/report.hpp>
#include <kedge/llm/files/checkpoint.hpp>
#include <kedge/llm/files/error.hpp>
#include <kedge/llm/text/chat_template.hpp>

#include "support/catch.hpp"
#include "support/mutations.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
using json = nlohmann::ordered_json;

namespace {

std::string const golden = KEDGE_TESTS_DIR "/golden/";
using ids = std::vector<std::int32_t>;

std::vector<preference_example> read_text(scratch_folder const& folder, std::string const& content, bool skip = false,
                                          std::size_t* skipped = nullptr) {
  write_file(folder / "pairs.jsonl", content);
  return read_preferences(folder / "pairs.jsonl", skip, skipped);
}

std::vector<json> golden_lines(std::string const& name) {
  std::vector<json> out;
  read_json_lines(golden + "preferences/" + name, false, [&](json_line line) { out.push_back(std::move(line.object)); });
  return out;
}

/// The example as it comes out of a file.
preference_example example_of(json const& pair) {
  scratch_folder const folder;
  return read_text(folder, pair.dump() + "\n").front();
}

struct small_model {
  checkpoint files = checkpoint::open(golden + "gguf/qwen3.gguf");
  tokenizer words = tokenizer::from_json(files.tokenizer);
  json variables = special_tokens(files.tokenizer_config);
};

std::string const messages_line =
    R"({"prompt": [{"role": "user", "content": "Hi"}], "chosen": [{"role": "assistant", "content": "a"}], )"
    R"("rejected": [{"role": "assistant", "content": "b"}], "score_chosen": 2, "score_rejected": -0.5})";

}  // namespace

TEST_CASE("pairs of every shape become the ids that TRL gives them", "[data]") {
  small_model const model;
  auto const cases = golden_lines("cases.jsonl");
  REQUIRE(cases.size() == 13);
  for (auto const& line : cases) {
    INFO(line.at("case").get<std::string>());
    chat_template const templating(line.at("template").get<std::string>());
    pair_encoder const encoder(model.words, &templating, model.variables, line.at("max_length"));
    auto const pair = encoder.encode(example_of(line.at("pair")));
    CHECK(pair.prompt == line.at("ids").at("prompt").get<ids>());
    CHECK(pair.chosen == line.at("ids").at("chosen").get<ids>());
    CHECK(pair.rejected == line.at("ids").at("rejected").get<ids>());
    CHECK(pair.truncated == (line.at("max_length") != 0));
  }
}

TEST_CASE("pairs of the example data get TRL's ids with the tokenizer of the real model", "[data][model]") {
  auto const* const path = std::getenv("KEDGE_TEST_MODEL");
  REQUIRE(path != nullptr);
  auto const files = checkpoint::open(path);
  auto const words = tokenizer::from_json(files.tokenizer);
  chat_template const templating(files.chat_template);
  pair_encoder const encoder(words, &templating, special_tokens(files.tokenizer_config), 0);
  auto const lines = golden_lines("sentiment.jsonl");
  REQUIRE(lines.size() == 20);
  for (auto const& line : lines) {
    auto const pair = encoder.encode(example_of(line.at("pair")));
    CHECK(pair.prompt == line.at("ids").at("prompt").get<ids>());
    CHECK(pair.chosen == line.at("ids").at("chosen").get<ids>());
    CHECK(pair.rejected == line.at("ids").at("rejected").get<ids>());
  }
}

TEST_CASE("a prompt that renders differently before an answer is counted as dropped", "[data]") {
  small_model const model;
  for (auto const& line : golden_lines("cases.jsonl")) {
    if (line.at("case") != "prompt that renders differently alone") continue;
    chat_template const templating(line.at("template").get<std::string>());
    auto const pair = pair_encoder(model.words, &templating, model.variables, 0).encode(example_of(line.at("pair")));
    CHECK(pair.dropped_prompt_tokens == 1);
  }
}

TEST_CASE("a file is read whatever its line ends and blank lines and first bytes", "[data]") {
  scratch_folder const folder;
  auto const pairs = read_text(folder, "\xef\xbb\xbf" + messages_line + "\r\n\r\n  \t\n" + messages_line);
  REQUIRE(pairs.size() == 2);
  CHECK(pairs[0].line == 1);
  CHECK(pairs[1].line == 4);
  CHECK(pairs[1].extra.at("score_chosen") == 2);
  CHECK(pairs[1].place == "'" + (folder / "pairs.jsonl").string() + "':4");
  CHECK(pairs[0].chosen.at(0).at("content") == "a");
  std::string const long_text(3'000'000, 'x');
  CHECK(read_text(folder, R"({"prompt": "p", "chosen": "c", "rejected": ")" + long_text + "\"}\n").front().rejected ==
        long_text);
}

TEST_CASE("compressed files are unpacked on reading", "[data]") {
  scratch_folder const folder;
  write_file(folder / "pairs.jsonl", messages_line + "\n" + messages_line + "\n");
  std::string const name = (folder / "pairs.jsonl").string();
  REQUIRE(std::system(("gzip -k '" + name + "'").c_str()) == 0);
  CHECK(read_preferences(name + ".gz", false).size() == 2);
  std::string packed = read_file(name + ".gz");
  packed.resize(packed.size() - 9);
  write_file(name + ".gz", packed);
  CHECK_THROWS_WITH(read_preferences(name + ".gz", false), contains("cannot be unpacked by gzip"));
}

TEST_CASE("a named pipe is read to its end", "[data]") {
  scratch_folder const folder;
  std::string const name = (folder / "pipe").string();
  REQUIRE(::mkfifo(name.c_str(), 0600) == 0);
  std::thread writer([&] { write_file(name, messages_line + "\n" + messages_line + "\n"); });
  auto const pairs = read_preferences(name, false);
  writer.join();
  CHECK(pairs.size() == 2);
}

TEST_CASE("scores of a line go with the pair and are NaN where there are none", "[data]") {
  small_model const model;
  chat_template const templating("{% for m in messages %}{{ m.content }}{% endfor %}");
  pair_encoder const encoder(model.words, &templating, model.variables, 0);
  auto const scored = encoder.encode(example_of(json::parse(messages_line)));
  CHECK(scored.score_chosen == 2.0);
  CHECK(scored.score_rejected == -0.5);
  auto const plain = encoder.encode(example_of({{"prompt", "p"}, {"chosen", "c"}, {"rejected", "r"}}));
  CHECK(std::isnan(plain.score_chosen));
}

TEST_CASE("a bad line is told with file and line and reason or counted", "[data]") {
  scratch_folder const folder;
  auto const refuses = [&](std::string const& line, std::string const& why) {
    std::string const content = messages_line + "\n" + line + "\n";
    CHECK_THROWS_WITH(read_text(folder, content), contains("pairs.jsonl':2: ") && contains(why));
    std::size_t skipped = 0;
    CHECK(read_text(folder, content, true, &skipped).size() == 1);
    CHECK(skipped == 1);
  };
  refuses("{\"prompt\": ", "not valid JSON at column");
  refuses("[1]", "not a JSON object");
  refuses("\"text\"", "not a JSON object");
  refuses(R"({"prompt": "p", "chosen": "c"})", "the key 'rejected' is missing");
  refuses(R"({"prompt": "p", "rejected": "c"})", "the key 'chosen' is missing");
  refuses(R"({"prompt": "p", "chosen": "c", "rejected": null})", "rejected is neither a text nor a list of messages");
  refuses(R"({"prompt": "p", "chosen": "c", "rejected": []})", "rejected is empty");
  refuses(R"({"prompt": "p", "chosen": "c", "rejected": [{"role": "assistant", "content": "x"}]})", "all texts or all lists");
  refuses(R"({"prompt": 3, "chosen": "c", "rejected": "r"})", "prompt is neither");
  refuses(R"({"prompt": "p", "chosen": ["c"], "rejected": "r"})", "no message with a role");
  refuses(R"({"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "user", "content": "b"}]})",
          "begin with different messages");
  refuses("{\"prompt\": \"\xff\", \"chosen\": \"c\", \"rejected\": \"r\"}", "not UTF-8");
  refuses(std::string(600, '[') + std::string(600, ']'), "nested deeper");
}

TEST_CASE("a file without a usable line is an error", "[data]") {
  scratch_folder const folder;
  CHECK_THROWS_WITH(read_text(folder, ""), contains("has no lines"));
  CHECK_THROWS_WITH(read_text(folder, "\n\n"), contains("has no lines"));
  CHECK_THROWS_WITH(read_text(folder, "{}\n{}\n", true), contains("all 2 are bad"));
  CHECK_THROWS_WITH(read_preferences(folder / "absent.jsonl", false), contains("absent.jsonl': No such file"));
}

TEST_CASE("a pair that cannot be encoded is told with its line", "[data]") {
  small_model const model;
  chat_template const templating("{% for m in messages %}{{ m.content }}{% endfor %}");
  auto const chat = example_of(json::parse(messages_line));
  auto const text = example_of({{"prompt", "The boat lay still"}, {"chosen", " c"}, {"rejected", " r"}});
  pair_encoder const without(model.words, nullptr, model.variables, 0);
  CHECK_THROWS_WITH(without.encode(chat), contains("':1: ") && contains("no chat template"));
  CHECK_NOTHROW(without.encode(text));
  CHECK_THROWS_WITH(pair_encoder(model.words, nullptr, json::object(), 0).encode(text), contains("eos_token"));
  std::size_t const length = without.encode(text).prompt.size();
  CHECK_THROWS_WITH(pair_encoder(model.words, nullptr, model.variables, length).encode(text),
                    contains("the prompt has " + std::to_string(length) + " tokens") && contains("raise --max_length"));
  CHECK(pair_encoder(model.words, nullptr, model.variables, length + 1).encode(text).chosen.size() == 1);
  chat_template const mute("{{ messages[0].content }}");
  CHECK_THROWS_WITH(pair_encoder(model.words, &mute, model.variables, 0).encode(chat), contains("chosen adds no token"));
}

TEST_CASE("pairs keep their order on any number of threads", "[data]") {
  small_model const model;
  std::vector<preference_example> examples;
  for (int i = 0; i < 200; ++i) {
    preference_example pair;
    pair.prompt = "boat " + std::to_string(i);
    pair.chosen = std::string(i == 57 || i == 130 ? 500 : 1, 'c');
    pair.rejected = "r";
    pair.line = static_cast<std::size_t>(i) + 1;
    if (i == 57 || i == 130) pair.prompt = std::string(500, '!');
    examples.push_back(std::move(pair));
  }
  pair_encoder const encoder(model.words, nullptr, model.variables, 100);
  std::size_t skipped = 0;
  auto const one = encode_preferences(encoder, examples, true, &skipped, 1);
  CHECK(skipped == 2);
  REQUIRE(one.size() == 198);
  auto const four = encode_preferences(encoder, examples, true, &skipped, 4);
  CHECK(skipped == 2);
  REQUIRE(four.size() == 198);
  std::size_t same = 0;
  for (std::size_t i = 0; i < one.size(); ++i) same += one[i].prompt == four[i].prompt && one[i].line == four[i].line ? 1U : 0U;
  CHECK(same == one.size());
  CHECK(one[57].line == 59);
  CHECK_THROWS_WITH(encode_preferences(encoder, examples, false, nullptr, 4), contains("line 58: "));
}

TEST_CASE("prompts are read from files of prompts and of pairs", "[data]") {
  scratch_folder const folder;
  write_file(folder / "p.jsonl", messages_line + "\n{\"prompt\": \"text\", \"id\": 7}\n");
  auto const prompts = read_prompts(folder / "p.jsonl", false);
  REQUIRE(prompts.size() == 2);
  CHECK(prompts[0].extra.contains("chosen"));
  CHECK(prompts[1].extra.at("id") == 7);
  small_model const model;
  chat_template const templating(
      "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}!{% endif %}");
  conversation_encoder const encoder(model.words, &templating, model.variables);
  CHECK(encode_prompt(encoder, prompts[0]) == model.words.encode("Hi!", false));
  CHECK(encode_prompt(encoder, prompts[1]) == model.words.encode("text", true));
  write_file(folder / "p.jsonl", "{\"chosen\": \"x\"}\n");
  CHECK_THROWS_WITH(read_prompts(folder / "p.jsonl", false), contains("p.jsonl':1: the key 'prompt' is missing"));
}

TEST_CASE("tools and template settings of a line reach the template", "[data]") {
  small_model const model;
  chat_template const templating("{{ tools[0].name }} {{ mood }} {{ messages[0].content }}");
  conversation_encoder const encoder(model.words, &templating, model.variables);
  json const messages = json::array({{{"role", "user"}, {"content", "Hi"}}});
  json extra = {{"tools", json::array({{{"name", "anchor"}}})}, {"chat_template_kwargs", {{"mood", "calm"}}}};
  CHECK(encoder.encode(messages, false, extra) == model.words.encode("anchor calm Hi", false));
  extra["tools"] = R"([{"name": "chain"}])";
  CHECK(encoder.encode(messages, false, extra) == model.words.encode("chain calm Hi", false));
}

TEST_CASE("demonstrations learn from the end of the prompt on", "[data]") {
  scratch_folder const folder;
  write_file(folder / "d.jsonl", R"({"prompt": "The boat", "completion": " lay still"}
{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
{"text": "whole"}
{"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Hello"}]}
)");
  auto const examples = read_demonstrations(folder / "d.jsonl", false);
  REQUIRE(examples.size() == 4);
  small_model const model;
  chat_template const templating(
      "{% for m in messages %}<{{ m.content }}>{% endfor %}{% if add_generation_prompt %}<{% endif %}");
  conversation_encoder const encoder(model.words, &templating, model.variables);
  auto const all = encode_demonstrations(encoder, examples, 0);
  REQUIRE(all.size() == 4);
  CHECK(all[0].tokens == model.words.encode("The boat lay still<|im_end|>", true));
  CHECK(all[0].learned_from == model.words.encode("The boat", true).size());
  CHECK(all[1].tokens == model.words.encode("<Hi><Hello>", false));
  CHECK(all[1].learned_from == 0);
  CHECK(all[2].tokens == model.words.encode("whole<|im_end|>", true));
  CHECK(all[3].tokens == all[1].tokens);
  CHECK(all[3].learned_from == common_prefix(model.words.encode("<Hi><", false), all[3].tokens));
  CHECK(encode_demonstration(encoder, examples[0], 5).tokens.size() == 5);
  CHECK_THROWS_WITH(encode_demonstration(encoder, examples[0], all[0].learned_from),
                    contains("d.jsonl':1: the prompt fills max_length"));
  write_file(folder / "d.jsonl", "{\"prompt\": \"p\"}\n");
  CHECK_THROWS_WITH(read_demonstrations(folder / "d.jsonl", false),
                    contains("neither 'prompt' and 'completion', nor 'messages'"));
}

TEST_CASE("the report of a data set counts shapes and names the lines to look at", "[data]") {
  scratch_folder const folder;
  std::string const system = R"({"role": "system", "content": "s"}, {"role": "user", "content": "u"})";
  std::string const turns = system + R"(, {"role": "assistant", "content": "a"}, {"role": "user", "content": "v"})";
  std::string const answer = R"([{"role": "assistant", "content": "yes"}])";
  auto const examples = read_text(
      folder, messages_line + "\n" + messages_line + "\n" + R"({"prompt": "p", "chosen": "same", "rejected": "same"})" + "\n" +
                  R"({"prompt": "p", "chosen": "x", "rejected": " \n", "score_chosen": 0, "score_rejected": 1})" + "\n" +
                  "{\"prompt\": [" + turns + "], \"chosen\": " + answer +
                  R"(, "rejected": [{"role": "assistant", "content": ""}]})");
  std::vector<preference_pair> encoded(4);
  for (std::size_t i = 0; i < 4; ++i) encoded[i].chosen.resize(i * 3);
  encoded[2].truncated = true;
  auto const report = report_on(examples, encoded);
  CHECK(report.pairs == 5);
  CHECK(report.conversations == 3);
  CHECK(report.with_system == 1);
  CHECK(report.several_turns == 1);
  CHECK(report.with_scores == 3);
  CHECK(report.prompts == 3);
  CHECK(report.repeated == std::vector<std::size_t>{2});
  CHECK(report.identical == std::vector<std::size_t>{3});
  CHECK(report.empty == std::vector<std::size_t>{4, 5});
  CHECK(report.reversed == std::vector<std::size_t>{4});
  CHECK(report.truncated == 1);
  CHECK(report.chosen.most == 9);
  CHECK(report.chosen.median == 3);
  CHECK(report.chosen.mean == 4.5);
  CHECK(report.chosen.histogram == std::vector<std::size_t>{1, 0, 1, 1, 1});
  CHECK(to_json(report).at("chosen").at("percentile_95") == 9);
  CHECK(report_on(examples, {}).prompt.most == 0);
}

TEST_CASE("every mutation of a file of pairs is read or refused in one line", "[data]") {
  scratch_folder const folder;
  std::string const sound = messages_line + "\r\n\n" +
                            R"({"chosen": "Très bien ça", "rejected": "Très bien où", "n": [1, -2.5e3, true, null]})" + "\n";
  std::size_t bad = 0;
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    try {
      std::size_t skipped = 0;
      for (auto const& pair : read_text(folder, mutations(seed)(sound), seed % 2 == 0, &skipped))
        bad += pair.prompt.is_null() ? 1U : 0U;
    } catch (error const& refused) {
      if (std::string_view{refused.what()}.find('\n') != std::string_view::npos) ++bad;
    }
  }
  CHECK(bad == 0);
}
