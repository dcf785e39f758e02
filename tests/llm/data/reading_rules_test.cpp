// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/demonstrations.hpp>
#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/data/preferences.hpp>
#include <kedge/llm/data/prompts.hpp>
#include <kedge/llm/data/ragged.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/text/chat_template.hpp>

#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
using json = nlohmann::ordered_json;

namespace {

using ids = std::vector<std::int32_t>;

struct small_model {
  checkpoint files = checkpoint::open(KEDGE_TESTS_DIR "/golden/gguf/qwen3.gguf");
  tokenizer words = tokenizer::from_json(files.tokenizer);
  json variables = special_tokens(files.tokenizer_config);
};

std::string const template_source =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% "
    "endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

std::vector<json> golden_lines(std::string const& name) {
  std::vector<json> out;
  read_json_lines(KEDGE_TESTS_DIR "/golden/data/" + name, false,
                  [&](json_line line) { out.push_back(std::move(line.object)); });
  return out;
}

// The sequence of a batch, as it is computed: all tokens before and of a completion.
struct seen_sequence {
  ids tokens;
  std::size_t scored = 0;
};

seen_sequence sequence_of(ragged_batch const& batch, std::int64_t which) {
  seen_sequence out;
  std::int64_t counted = 0;
  for (shared_prompt const& group : batch.prompts) {
    std::int64_t begin = group.begin + group.prompt;
    for (std::int64_t const size : group.completions) {
      if (counted++ == which) {
        for (std::int64_t i = 0; i < group.prompt; ++i)
          out.tokens.push_back(static_cast<std::int32_t>(batch.tokens[static_cast<std::size_t>(group.begin + i)]));
        for (std::int64_t i = 0; i < size; ++i)
          out.tokens.push_back(static_cast<std::int32_t>(batch.tokens[static_cast<std::size_t>(begin + i)]));
      }
      begin += size;
    }
  }
  out.scored = static_cast<std::size_t>(std::count(batch.sequence.begin(), batch.sequence.end(), which));
  return out;
}

struct told_reading {
  std::vector<preference_pair> pairs;
  reading_report report;
};

told_reading read_lines(std::string const& lines, reading const& how = {}, std::size_t max_length = 0) {
  static small_model const model;
  static chat_template const templating(template_source);
  scratch_folder const folder;
  write_file(folder / "pairs.jsonl", lines);
  told_reading out;
  out.pairs =
      read_pairs(folder / "pairs.jsonl", pair_encoder(model.words, &templating, model.variables, max_length), how, &out.report);
  return out;
}

bool tells(reading_report const& report, std::string const& what) {
  return std::any_of(report.notes.begin(), report.notes.end(),
                     [&](std::string const& note) { return note.find(what) != std::string::npos; });
}

std::string pair_line(std::string const& prompt, std::string const& chosen, std::string const& rejected,
                      std::string const& more = "") {
  return R"({"prompt": )" + prompt + R"(, "chosen": )" + chosen + R"(, "rejected": )" + rejected + more + "}\n";
}

std::string const plain = pair_line(R"("The anchor is")", R"(" ahead.")", R"(" behind.")");

}  // namespace

TEST_CASE("Pairs longer than max_length keep their ends as the collator of TRL keeps them", "[data]") {
  small_model const model;
  auto const cases = golden_lines("keep_end.jsonl");
  REQUIRE(cases.size() == 12);
  for (json const& one : cases) {
    INFO(one.dump());
    pair_encoder const encoder(model.words, nullptr, model.variables, one.at("max_length"), truncation_mode::keep_end);
    scratch_folder const folder;
    write_file(folder / "pair.jsonl", one.at("pair").dump());
    std::vector<preference_pair> const pairs = read_pairs(folder / "pair.jsonl", encoder);
    std::vector<std::size_t> const all{0};
    ragged_batch const batch = pack_pairs(pairs, all);
    CHECK(shared_tokens(pairs.front()) == batch.size());
    for (std::int64_t side = 0; side < 2; ++side) {
      json const& wanted = one.at("ids").at(side == 0 ? "chosen" : "rejected");
      seen_sequence const got = sequence_of(batch, side);
      CHECK(got.tokens == wanted.at("ids").get<ids>());
      std::size_t const completion = wanted.at("completion");
      CHECK(got.scored ==
            (completion == got.tokens.size() ? completion - 1 : completion));  // nothing stands before the first token
    }
  }
}

TEST_CASE("The tokens of the assistant are those that transformers masks", "[data]") {
  small_model const model;
  auto const cases = golden_lines("turns.jsonl");
  REQUIRE(cases.size() == 18);
  for (json const& one : cases) {
    INFO(one.at("case").get<std::string>() << "\n" << one.at("template").get<std::string>());
    chat_template const templating(one.at("template").get<std::string>());
    conversation_encoder const encoder(model.words, &templating, model.variables);
    demonstration example;
    example.completion = one.at("messages");
    example.place = "here";
    demonstration_ids const got = encode_demonstration(encoder, example, {.assistant_only = true});
    CHECK(got.tokens == one.at("ids").get<ids>());
    std::vector<int> mask(got.tokens.size());
    for (token_run const& run : got.learned)
      std::fill(mask.begin() + static_cast<std::ptrdiff_t>(run.begin), mask.begin() + static_cast<std::ptrdiff_t>(run.end), 1);
    CHECK(mask == one.at("mask").get<std::vector<int>>());
  }
}

TEST_CASE("Rows that are learned are those of the assistant, and are cut with the sequence", "[data]") {
  small_model const model;
  chat_template const templating(template_source);
  conversation_encoder const encoder(model.words, &templating, model.variables);
  demonstration example;
  example.completion = json::parse(
      R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}])");
  example.place = "here";
  demonstration_ids const whole = encode_demonstration(encoder, example, {.assistant_only = true});
  REQUIRE(whole.learned.size() == 2);
  ragged_batch batch;
  std::array<std::span<std::int32_t const>, 1> const completion{whole.tokens};
  append(batch, {}, completion);
  learn_only(batch, 0, whole.tokens.size(), whole.learned);
  std::vector<std::int64_t> wanted;
  for (token_run const& run : whole.learned)
    for (std::size_t i = run.begin; i < run.end; ++i) wanted.push_back(whole.tokens[i]);
  CHECK(batch.targets == wanted);
  for (std::size_t i = 0; i < wanted.size(); ++i) CHECK(batch.tokens[static_cast<std::size_t>(batch.rows[i]) + 1] == wanted[i]);

  demonstration_ids const start =
      encode_demonstration(encoder, example, {.max_length = whole.learned[0].end, .assistant_only = true});
  CHECK(start.learned == std::vector<token_run>{whole.learned[0]});
  std::size_t const cut = whole.learned[1].begin - 1;
  demonstration_ids const end = encode_demonstration(
      encoder, example,
      {.max_length = whole.tokens.size() - cut, .truncation = truncation_mode::keep_end, .assistant_only = true});
  CHECK(end.learned == std::vector<token_run>{{1, whole.learned[1].end - cut}});
  CHECK_THROWS_WITH(encode_demonstration(encoder, example, {.max_length = 2, .assistant_only = true}),
                    contains("fills max_length 2"));
  example.completion = "a text";
  CHECK_THROWS_WITH(encode_demonstration(encoder, example, {.assistant_only = true}),
                    contains("assistant_only_loss is for conversations"));
}

TEST_CASE("A template that writes earlier turns otherwise is refused without generation blocks", "[data]") {
  small_model const model;
  chat_template const templating(
      "{% for m in messages %}{{ m.role + ':' + m.content + ('!' if loop.last else '') }}{% endfor %}{% if "
      "add_generation_prompt %}assistant:{% endif %}");
  conversation_encoder const encoder(model.words, &templating, model.variables);
  demonstration example;
  example.completion = json::parse(
      R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}])");
  CHECK_THROWS_WITH(encode_demonstration(encoder, example, {.assistant_only = true}),
                    contains("give it {% generation %} blocks"));
}

TEST_CASE("Odd pairs are told once with their number and the first line", "[data]") {
  std::string const user = R"([{"role": "user", "content": "Which way?"}])",
                    west = R"([{"role": "assistant", "content": "West."}])",
                    east = R"([{"role": "assistant", "content": "East."}])";
  auto const told = [&](std::string const& line) { return read_lines(plain + line + plain + line).report; };
  auto const one = [&](std::string const& line, std::string const& what) {
    INFO(line);
    CHECK(tells(told(line), "2 examples, first at line 2: " + what));
  };
  CHECK(told(plain).notes.empty());
  one(pair_line(R"("")", R"("West")", R"("East")").replace(0, 15, "{"), "the prompt has no tokens");
  one(pair_line(R"("The anchor is")", R"("The anchor is ahead.")", R"(" behind.")"),
      "a completion begins with the prompt once more");
  one(pair_line(user, R"([{"role": "user", "content": "Which way?"}, {"role": "assistant", "content": "West."}])", east),
      "a completion begins with the prompt once more");
  one(pair_line(R"("The an")", R"("chor was short")", R"("swers")"), "the end of the prompt becomes other tokens");
  one(pair_line(R"("The anchor is")", R"(" ahead.")", R"(" ahead.")"), "chosen equals rejected");
  one(pair_line(user, R"([{"role": "assistant", "content": "West."}, {"role": "user", "content": "Why?"}])", east),
      "a completion ends with another role");
  one(pair_line(user, west, east, R"(, "score_chosen": "8.0", "score_rejected": 1)"), "a score is no number");
  one(pair_line(user, west, east, R"(, "margin": "large")"), "the margin is no number");
  CHECK(tells(read_lines(plain + plain, {.positions = 4}).report,
              "2 examples, first at line 1: more tokens than the model has positions"));
  CHECK(tells(read_lines(plain, {}, 6).report, "1 example, first at line 1: cut, being longer than max_length"));
}

TEST_CASE("Thinking that a template leaves out of a trained turn is told", "[data]") {
  small_model const model;
  chat_template const templating(
      "{% for m in messages %}{{ m.role + ':' + m.content.split('</think>')[-1] }}{% endfor %}{% if add_generation_prompt "
      "%}assistant:{% endif %}");
  pair_encoder const encoder(model.words, &templating, model.variables, 0);
  scratch_folder const folder;
  auto const odd = [&](std::string const& chosen) {
    write_file(folder / "p.jsonl",
               pair_line(R"([{"role": "user", "content": "a"}])", R"([{"role": "assistant", "content": ")" + chosen + R"("}])",
                         R"([{"role": "assistant", "content": "c"}])"));
    return read_pairs(folder / "p.jsonl", encoder).front().odd;
  };
  CHECK(odd("<think>\\nlong\\n</think>West").has(oddity::lost_thinking));
  CHECK_FALSE(odd("<think>\\n\\n</think>West").has(oddity::lost_thinking));
  CHECK_FALSE(odd("West").has(oddity::lost_thinking));
}

TEST_CASE("A label beside a demonstration is told, for what it calls bad is learned", "[data]") {
  small_model const model;
  scratch_folder const folder;
  write_file(folder / "kto.jsonl", R"({"prompt": "The anchor is", "completion": " ahead.", "label": true})"
                                   "\n"
                                   R"({"prompt": "The anchor is", "completion": " gone.", "label": false})"
                                   "\n");
  reading_report report;
  auto const all = read_encoded_demonstrations(folder / "kto.jsonl",
                                               conversation_encoder(model.words, nullptr, model.variables), {}, {}, &report);
  CHECK(all.size() == 2);
  CHECK(tells(report, "2 examples, first at line 1: the label is not read"));
}

TEST_CASE("Encoded examples stop at the limit, whatever is odd or wanted of them", "[data]") {
  CHECK(read_lines(plain + plain + "no JSON\n", {.most = 2}).pairs.size() == 2);
  CHECK_THROWS_WITH(read_lines(plain + plain + "no JSON\n", {.most = 3}), contains(":3: not valid JSON"));
  std::string const long_prompt =
      pair_line(R"("The boat lay still at the quay until the tide came in and then")", R"(" it went.")", R"(" no.")");
  auto const some = read_lines(plain + long_prompt + plain + plain + "no JSON\n", {.most = 3, .skip_bad_lines = true}, 8);
  CHECK(some.pairs.size() == 3);
  CHECK(some.report.skipped == 1);
  CHECK(some.pairs[1].line == 3);
  CHECK(some.pairs[1].index == 2);
  CHECK_THROWS_WITH(read_lines(long_prompt, {}, 8), contains("cut the prompt (--truncation_mode keep_end)"));

  small_model const model;
  scratch_folder const folder;
  write_file(folder / "pairs.jsonl", plain + plain + plain + "no JSON\n");
  std::size_t asked = 0;
  auto const every_other = [&](preference_pair const& pair) { return ++asked, pair.line != 2; };
  auto const kept = read_pairs(folder / "pairs.jsonl", pair_encoder(model.words, nullptr, model.variables, 0), {.most = 2},
                               nullptr, {}, every_other);
  CHECK(kept.size() == 2);
  CHECK(kept[1].line == 3);
  CHECK(asked == 3);
}

TEST_CASE("Prompts are read to the limit, and one that fills the positions is refused", "[data]") {
  small_model const model;
  conversation_encoder const encoder(model.words, nullptr, model.variables);
  scratch_folder const folder;
  write_file(folder / "prompts.jsonl", R"({"prompt": "The anchor is ahead of the boat"})"
                                       "\n"
                                       R"({"prompt": "b"})"
                                       "\nno JSON\n");
  CHECK(read_encoded_prompts(folder / "prompts.jsonl", encoder, {.most = 2}).size() == 2);
  CHECK_THROWS_WITH(read_encoded_prompts(folder / "prompts.jsonl", encoder, {.most = 2, .positions = 3}),
                    contains("leaves no room for an answer: the model has 3 positions"));
  reading_report report;
  CHECK(read_encoded_prompts(folder / "prompts.jsonl", encoder, {.most = 1, .skip_bad_lines = true, .positions = 3}, &report)
            .front()
            .example.line == 2);
  CHECK(report.skipped == 1);
}
