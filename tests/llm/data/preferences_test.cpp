// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>
#include <zstd.h>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/demonstrations.hpp>
#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/data/preferences.hpp>
#include <kedge/llm/data/prompts.hpp>
#include <kedge/llm/data/report.hpp>
#include <kedge/llm/data/shuffled_lines.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
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

std::string zstd_packed(std::string const& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

std::string gzipped(std::string const& text) {
  z_stream state{};
  deflateInit2(&state, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&state, text.size()) + 32, '\0');
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  state.avail_in = static_cast<uInt>(text.size());
  state.next_out = reinterpret_cast<Bytef*>(out.data());
  state.avail_out = static_cast<uInt>(out.size());
  deflate(&state, Z_FINISH);
  out.resize(state.total_out);
  deflateEnd(&state);
  return out;
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
  chat_template const templating(files.chat_templates);
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
  std::string const plain = messages_line + "\n" + messages_line + "\n" + R"({"prompt": "p", "chosen": "c", "rejected": ")" + std::string(900'000, 'x') + "\"}\n";
  for (auto const& [pack, name] : {std::pair{&gzipped, "gzip"}, {&zstd_packed, "zstd"}}) {
    INFO(name);
    std::string const half = pack(plain), path = (folder / name).string();
    write_file(path, half);
    CHECK(read_preferences(path, false).size() == 3);
    write_file(path, half + half);  // as `cat a.gz b.gz` makes it
    CHECK(read_preferences(path, false).size() == 6);
    write_file(path, half.substr(0, half.size() - 9));
    CHECK_THROWS_WITH(read_preferences(path, false), contains("cannot be unpacked") && contains("damaged or cut off"));
    CHECK_THROWS_WITH(read_preferences(path, true), contains("cannot be unpacked"));
    std::string broken = half;
    broken[broken.size() / 2] = static_cast<char>(broken[broken.size() / 2] ^ 0x55);
    write_file(path, broken);
    CHECK_THROWS_AS(read_preferences(path, false), error);
    write_file(path, half + "rubbish");
    CHECK_THROWS_WITH(read_preferences(path, false), contains("cannot be unpacked"));
  }
  write_file(folder / "padded", gzipped(plain) + std::string(512, '\0'));
  CHECK(read_preferences(folder / "padded", false).size() == 3);
  write_file(folder / "x.parquet", "PAR1 and more");
  CHECK_THROWS_WITH(read_preferences(folder / "x.parquet", false), contains("Parquet"));
}

TEST_CASE("every mutation of a compressed file is read or refused in one line", "[data]") {
  scratch_folder const folder;
  std::string const plain = messages_line + "\n" + messages_line + "\n";
  std::size_t bad = 0;
  for (auto const& pack : {&gzipped, &zstd_packed})
    for (std::uint64_t seed = 0; seed < 1000; ++seed) {
      write_file(folder / "packed", mutations(seed)(pack(plain)));
      try {
        bad += read_preferences(folder / "packed", seed % 2 == 0).size() > 4 ? 1U : 0U;
      } catch (error const& refused) {
        if (std::string_view{refused.what()}.find('\n') != std::string_view::npos) ++bad;
      }
    }
  CHECK(bad == 0);
}

TEST_CASE("a hyphen is standard input whatever comes from there", "[data]") {
  scratch_folder const folder;
  int const before = ::dup(STDIN_FILENO);
  for (std::string const& text : {messages_line + "\n", gzipped(messages_line + "\n"), zstd_packed(messages_line)}) {
    write_file(folder / "in", text);
    REQUIRE(std::freopen((folder / "in").c_str(), "r", stdin) != nullptr);
    CHECK(read_preferences("-", false).size() == 1);
  }
  write_file(folder / "in", "{}\n");
  REQUIRE(std::freopen((folder / "in").c_str(), "r", stdin) != nullptr);
  CHECK_THROWS_WITH(read_preferences("-", false), contains("standard input:1: the key"));
  ::dup2(before, STDIN_FILENO);
  ::close(before);
}

TEST_CASE("a system column makes a conversation of a line", "[data]") {
  scratch_folder const folder;
  auto const message = [](char const* role, char const* content) { return json{{"role", role}, {"content", content}}; };
  auto const system = message("system", "s"), user = message("user", "p"), assistant = message("assistant", "c");
  auto const texts = read_text(folder, R"({"system": "s", "prompt": "p", "chosen": "c", "rejected": "r"})");
  CHECK(texts[0].prompt == json::array({system, user}));
  CHECK(texts[0].chosen == json::array({assistant}));
  CHECK(texts[0].rejected == json::array({message("assistant", "r")}));
  CHECK(!texts[0].extra.contains("system"));
  for (char const* const none : {R"("")", "null"})
    CHECK(read_text(folder, std::string{R"({"system": )"} + none + R"(, "prompt": "p", "chosen": "c", "rejected": "r"})")[0].prompt == json::array({user}));
  json line = {{"system", "s"}, {"prompt", {user}}, {"chosen", {assistant}}, {"rejected", {assistant}}};
  CHECK(read_text(folder, line.dump())[0].prompt == json::array({system, user}));
  json implicit = {{"system", "s"}, {"chosen", {user, assistant}}, {"rejected", {user, message("assistant", "r")}}};
  CHECK(read_text(folder, implicit.dump())[0].prompt == json::array({system, user}));
  line["prompt"] = {system, user};
  CHECK_THROWS_WITH(read_text(folder, line.dump()), contains("has a system message already"));
  CHECK_THROWS_WITH(read_text(folder, R"({"system": 1, "prompt": "p", "chosen": "c", "rejected": "r"})"), contains("system is not a text"));
  CHECK_THROWS_WITH(read_text(folder, R"({"system": "s", "chosen": "pc", "rejected": "pr"})"), contains("needs a prompt"));
  write_file(folder / "d.jsonl", json{{"system", "s"}, {"prompt", "p"}, {"completion", "c"}}.dump() + "\n" +
                                     json{{"system", "s"}, {"messages", {user, assistant}}}.dump() + "\n");
  auto const examples = read_demonstrations(folder / "d.jsonl", false);
  CHECK(examples[0].prompt == json::array({system, user}));
  CHECK(examples[0].completion == json::array({assistant}));
  CHECK(examples[1].completion == json::array({system, user, assistant}));
  CHECK(read_prompts(folder / "d.jsonl", true)[0].prompt == json::array({system, user}));
  write_file(folder / "d.jsonl", R"({"text": "t", "system": "s"})");
  CHECK_THROWS_WITH(read_demonstrations(folder / "d.jsonl", false), contains("has a key 'system' too"));
}

TEST_CASE("shuffled lines are the lines of the file in an order of the seed", "[data]") {
  scratch_folder const folder;
  std::string text = "\xef\xbb\xbf";
  std::vector<std::string> sorted;
  for (int i = 0; i < 1000; ++i) sorted.push_back("{\"n\": " + std::to_string(i) + "}");
  for (auto const& line : sorted) text += line + (line.size() % 2 == 0 ? "\r\n" : "\n\n  \n");
  text.resize(text.size() - 1);  // the last line has no end
  std::sort(sorted.begin(), sorted.end());
  auto const lines_of = [&](std::string const& content, std::uint64_t seed) {
    write_file(folder / "l", content);
    shuffled_lines const lines(folder / "l", seed);
    std::vector<std::string> out;
    for (std::size_t i = 0; i < lines.size(); ++i) out.emplace_back(lines[i]);
    return out;
  };
  auto const order = lines_of(text, 1);
  CHECK(lines_of(text, 1) == order);
  CHECK(lines_of(gzipped(text), 1) == order);
  CHECK(lines_of(zstd_packed(text), 1) == order);
  auto other = lines_of(text, 2);
  CHECK(other != order);
  std::sort(other.begin(), other.end());
  CHECK(other == sorted);
  std::size_t displaced = 0;
  for (std::size_t i = 0; i < order.size(); ++i) displaced += order[i] != sorted[i] ? 1U : 0U;
  CHECK(displaced > 900);
  CHECK_THROWS_WITH(lines_of("\n\n", 1), contains("has no lines"));
  CHECK_THROWS_WITH(shuffled_lines(folder / "absent", 1), contains("absent': No such file"));
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
  refuses(R"({"prompt": "p", "chosen": "c", "rejected": null})", "the key 'rejected' is missing");
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
  std::vector<demonstration_ids> all;
  for (demonstration const& example : examples) all.push_back(encode_demonstration(encoder, example, {}));
  REQUIRE(all.size() == 4);
  CHECK(all[0].tokens == model.words.encode("The boat lay still<|im_end|>", true));
  CHECK(all[0].learned_from == model.words.encode("The boat", true).size());
  CHECK(all[1].tokens == model.words.encode("<Hi><Hello>", false));
  CHECK(all[1].learned_from == 0);
  CHECK(all[2].tokens == model.words.encode("whole<|im_end|>", true));
  CHECK(all[3].tokens == all[1].tokens);
  CHECK(all[3].learned_from == common_prefix(model.words.encode("<Hi><", false), all[3].tokens));
  CHECK(encode_demonstration(encoder, examples[0], {.max_length = 5}).tokens.size() == 5);
  CHECK_THROWS_WITH(encode_demonstration(encoder, examples[0], {.max_length = all[0].learned_from}),
                    contains("d.jsonl':1: the prompt fills max_length"));
  write_file(folder / "d.jsonl", "{\"prompt\": \"p\"}\n");
  CHECK_THROWS_WITH(read_demonstrations(folder / "d.jsonl", false),
                    contains("neither 'prompt' and 'completion', nor 'messages'"));
}

TEST_CASE("the report of a data set counts shapes and names the lines to look at", "[data]") {
  scratch_folder const folder;
  std::string const system = R"({"role": "system", "content": "s"}, {"role": "user", "content": "u"})";
  std::string const turns = system + R"(, {"role": "assistant", "content": "a"}, {"role": "user", "content": "vé"})";
  std::string const answer = R"([{"role": "assistant", "content": "yes"}])";
  write_file(folder / "pairs.jsonl",
             messages_line + "\n" + messages_line + "\n" + R"({"prompt": "p", "chosen": "same", "rejected": "same"})" + "\n" +
                 R"({"prompt": "p", "chosen": "x", "rejected": " \n", "score_chosen": 0, "score_rejected": 1})" + "\n" +
                 "{\"prompt\": [" + turns + "], \"chosen\": " + answer + R"(, "rejected": [{"role": "assistant", "content": ""}]})" +
                 "\n{\"prompt\": \"p\"}\nnonsense\n");
  auto const report = report_on_file(folder / "pairs.jsonl");
  CHECK(report.kind == data_kind::pairs);
  CHECK(report.examples == 5);
  CHECK(report.conversations == 3);
  CHECK(report.with_system == 1);
  CHECK(report.several_turns == 1);
  CHECK(report.with_scores == 3);
  CHECK(report.prompts == 3);
  CHECK(report.chosen_longer == 1);
  CHECK(report.repeated == std::vector<std::size_t>{2});
  CHECK(report.identical == std::vector<std::size_t>{3});
  CHECK(report.empty == std::vector<std::size_t>{4, 5});
  CHECK(report.reversed == std::vector<std::size_t>{4});
  CHECK(report.bad == 2);
  REQUIRE(report.bad_reasons.size() == 2);
  CHECK_THAT(report.bad_reasons[0], contains("':6: the key 'chosen' is missing"));
  REQUIRE(report.parts.size() == 3);
  CHECK(report.parts[0].characters.most == 5);
  CHECK(report.parts[1].characters.histogram == std::vector<std::size_t>{0, 3, 1, 1});
  CHECK(to_json(report).at("characters").at("chosen").at("mean") == 2.0);
  CHECK(!to_json(report).contains("tokens"));
}

TEST_CASE("the report of a data set counts tokens and cuts as a run would", "[data]") {
  scratch_folder const folder;
  small_model const model;
  auto const report = [&](std::string const& content, std::size_t max_length) {
    write_file(folder / "d.jsonl", content);
    report_tokens const tokens{model.words, nullptr, model.variables, max_length};
    return report_on_file(folder / "d.jsonl", &tokens);
  };
  std::string const text = R"({"prompt": "The boat lay still", "chosen": " and waited", "rejected": " r"})";
  auto const pairs = report(text + "\n" + messages_line, 0);
  CHECK(pairs.parts[0].tokens.most == model.words.encode("The boat lay still", true).size());
  CHECK(pairs.truncated == 0);
  CHECK(pairs.bad == 1);  // messages, and no template
  CHECK_THAT(pairs.bad_reasons.at(0), contains("no chat template"));
  CHECK(to_json(pairs).at("tokens").at("rejected").at("least") > 0);
  CHECK(report(text, pairs.parts[0].tokens.most + 1).truncated == 1);
  auto const demonstrations = report(R"({"prompt": "The boat", "completion": " lay"})" "\n" R"({"text": "whole"})", 0);
  CHECK(demonstrations.kind == data_kind::demonstrations);
  CHECK(demonstrations.parts[1].tokens.most == model.words.encode("whole<|im_end|>", true).size());
  CHECK(demonstrations.parts[0].tokens.least == 0);
  auto const prompts = report(R"({"prompt": "The boat"})" "\n" R"({"prompt": " "})", 0);
  CHECK(prompts.kind == data_kind::prompts);
  CHECK(prompts.empty == std::vector<std::size_t>{2});
  CHECK(prompts.parts.at(0).tokens.most == model.words.encode("The boat", true).size());
  CHECK_THROWS_WITH(report(R"({"question": "q"})", 0), contains("no usable line"));
}

TEST_CASE("lengths are summarised by nearest rank and powers of two", "[data]") {
  auto const summary = summarise_lengths({9, 0, 3, 6});
  CHECK(summary.most == 9);
  CHECK(summary.median == 3);
  CHECK(summary.percentile_95 == 9);
  CHECK(summary.mean == 4.5);
  CHECK(summary.histogram == std::vector<std::size_t>{1, 0, 1, 1, 1});
  CHECK(summarise_lengths({}).most == 0);
}

TEST_CASE("pairs read in one go are those read and encoded", "[data]") {
  scratch_folder const folder;
  small_model const model;
  pair_encoder const encoder(model.words, nullptr, model.variables, 0);
  std::string content;
  for (int i = 0; i < 5000; ++i) content += json{{"prompt", "boat"}, {"chosen", " " + std::to_string(i)}, {"rejected", " r"}}.dump() + "\n";
  content.insert(content.find('\n') + 1, messages_line + "\n{}\n");  // one that can't be encoded, one that can't be read
  write_file(folder / "pairs.jsonl", content);
  reading_report report;
  auto const pairs = read_pairs(folder / "pairs.jsonl", encoder, {.skip_bad_lines = true}, &report);
  CHECK(report.skipped == 2);
  REQUIRE(pairs.size() == 5000);
  CHECK(pairs[4500].line == 4503);
  CHECK(pairs[4500].chosen == encode_preferences(encoder, read_preferences(folder / "pairs.jsonl", true), true)[4500].chosen);
  CHECK_THROWS_WITH(read_pairs(folder / "pairs.jsonl", encoder), contains("pairs.jsonl':3: the key 'chosen' is missing"));
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
