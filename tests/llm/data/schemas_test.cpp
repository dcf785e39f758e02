// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/demonstrations.hpp>
#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/data/report.hpp>

#include "../../../adapters/llm/src/data/examples.hpp"
#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
using json = nlohmann::ordered_json;

namespace {

struct reading_result {
  std::vector<json> objects;
  std::vector<std::string> notes, problems;
};

std::string joined_lines(json const& lines) {
  std::string text;
  for (json const& line : lines) text += line.dump() + '\n';
  return text;
}

reading_result read(std::string const& text, reading const& how, std::optional<data_kind> wanted) {
  scratch_folder const folder;
  write_file(folder / "data.jsonl", text);
  json_line_reader reader(folder / "data.jsonl", how, wanted);
  reading_result out;
  while (reader.next([&](json_line line) { out.objects.push_back(std::move(line.object)); })) {
  }
  out.notes = reader.notes();
  out.problems = reader.problems();
  return out;
}

// Pairs with the prompt that is cut out of conversations; all other examples as they are.
json as_example(json const& object) {
  if (!object.contains("chosen")) return object;
  preference_example const pair = parse_preference({object, 1, "here"});
  json out{{"prompt", pair.prompt}, {"chosen", pair.chosen}, {"rejected", pair.rejected}};
  for (char const* const key : {"score_chosen", "score_rejected"})
    if (object.contains(key)) out[key] = object[key];
  return out;
}

json golden_cases() {
  json all = json::array();
  read_json_lines(KEDGE_TESTS_DIR "/golden/data/schemas.jsonl", false,
                  [&](json_line line) { all.push_back(std::move(line.object)); });
  return all;
}

std::string pairs_file(std::string const& keys) { return "{" + keys + "}\n"; }

}  // namespace

TEST_CASE("Lines in the shapes of public data sets are the examples that their cards say", "[data]") {
  json const cases = golden_cases();
  REQUIRE(cases.size() >= 20);
  for (json const& one : cases) {
    INFO(one.at("format") << " to " << one.at("to") << ", " << one.at("ranked_pairs"));
    reading const how{.format = *from_name<data_format>(one.at("format").get<std::string>()),
                      .pairs = *from_name<ranked_pairs>(one.at("ranked_pairs").get<std::string>())};
    auto const got = read(joined_lines(one.at("lines")), how, from_name<data_kind>(one.at("to").get<std::string>()));
    REQUIRE(got.objects.size() == one.at("examples").size());
    for (std::size_t i = 0; i < got.objects.size(); ++i)
      CHECK(json::parse(as_example(got.objects[i]).dump()) == json::parse(one.at("examples")[i].dump()));
  }
}

TEST_CASE("Shapes that leave no choice are known by the keys of the first line and said", "[data]") {
  for (json const& one : golden_cases()) {
    std::string const format = one.at("format");
    bool const sure = format == "shp" || format == "pku" || format == "arena" || format == "summaries" ||
                      format == "sharegpt" || format == "alpaca" || format == "capybara" ||
                      one.at("lines")[0].contains("score_chosen") || one.at("lines")[0].contains("preference_strength");
    if (!sure) continue;
    INFO(format);
    auto const got = read(joined_lines(one.at("lines")), {}, from_name<data_kind>(one.at("to").get<std::string>()));
    REQUIRE(got.objects.size() == one.at("examples").size());
    CHECK(as_example(got.objects[0]) == one.at("examples")[0]);
    REQUIRE_FALSE(got.notes.empty());
    CHECK(got.notes[0] == "read in the format " + format + ", as the keys of the first line say");
  }
}

TEST_CASE("Shapes that leave a choice are refused with the flags and the command that make it", "[data]") {
  std::string const nectar =
      R"({"prompt": "\n\nHuman: a\n\nAssistant: ", "answers": [{"answer": "b", "rank": 1}, {"answer": "c", "rank": 2}]})";
  CHECK_THROWS_WITH(read(nectar, {}, data_kind::pairs),
                    contains("the lines look like the format nectar; say which of the ranked answers make pairs: "
                             "--dataset_format nectar --ranked_pairs "
                             "best-worst (or adjacent, all); or write lines with TRL's keys first: kedge convert") &&
                        contains("data.jsonl' --dataset_format nectar --output converted.jsonl"));
  std::string const orca = R"({"question": "a", "chosen": "b", "rejected": "c"})";
  CHECK_THROWS_WITH(read(orca, {}, data_kind::pairs), contains("--dataset_format orca; or"));
  std::string const rated = R"({"prompt": "a", "response": "b", "helpfulness": 3})";
  CHECK_THROWS_WITH(read(rated, {}, data_kind::pairs), contains("--dataset_format helpsteer2"));
  std::string const shp = R"({"history": "a", "human_ref_A": "b", "human_ref_B": "c", "labels": 1})";
  CHECK_THROWS_WITH(read(shp, {}, data_kind::demonstrations),
                    contains("say that the best answer is learned: --dataset_format shp") && contains("--to demonstrations"));
  CHECK(read(shp, {.format = data_format::shp}, data_kind::demonstrations).objects[0].at("completion")[0].at("content") == "b");
  CHECK_THROWS_WITH(read(shp, {.format = data_format::pku}, data_kind::pairs),
                    contains("the key 'better_response_id' is missing (read in the format pku)"));
  CHECK(read(rated, {.format = data_format::trl}, data_kind::pairs).objects[0].contains("response"));
}

TEST_CASE("Lines with the keys of TRL are left as they are", "[data]") {
  std::string const text = pairs_file(R"("prompt": "a", "chosen": "b", "rejected": "c", "question": "d", "x": 1)");
  auto const got = read(text, {}, data_kind::pairs);
  CHECK(got.objects[0].dump() == json::parse(text).dump());
  CHECK(got.notes.empty());
  std::string const both = R"({"instruction": "a", "output": "b", "text": "### a b"})";
  CHECK(read(both, {}, data_kind::demonstrations).objects[0].contains("instruction"));
  CHECK(read(both, {.format = data_format::alpaca}, data_kind::demonstrations).objects[0].contains("completion"));
  auto const transcripts =
      read(R"({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"})", {}, data_kind::pairs);
  CHECK(transcripts.objects[0].at("chosen").is_string());
  CHECK(transcripts.notes[0] ==
        "the texts are transcripts, and learned as texts; --dataset_format hh makes conversations of them");
}

TEST_CASE("A tie makes no pair and is counted, and a file of ties has no usable line", "[data]") {
  std::string const tie =
      R"({"conversation_a": [{"role": "user", "content": "a"}], "conversation_b": [{"role": "user", "content": "b"}], "winner": "tie"})";
  std::string won = tie;
  won.replace(won.find("tie"), 3, "model_b");
  auto const got = read(tie + "\n" + won + "\n" + tie + "\n", {}, data_kind::pairs);
  CHECK(got.objects.size() == 1);
  CHECK(got.notes[1] == "2 examples make no pair, first at line 1: no completion is better than another");
  CHECK_THROWS_WITH(read(tie, {}, data_kind::pairs),
                    contains("has no usable line: no prompt has two completions of which one is better"));
}

TEST_CASE("What goes through a template or is refused is carried over from any shape", "[data]") {
  std::string const line =
      R"({"history": "a", "human_ref_A": "b", "human_ref_B": "c", "labels": 1, "tools": [{"name": "x"}], "images": ["p.png"], "post_id": "z"})";
  json const object = read(line, {}, data_kind::pairs).objects[0];
  CHECK(object.at("tools").size() == 1);
  CHECK_FALSE(object.contains("post_id"));
  CHECK_THROWS_WITH(parse_preference({object, 1, "here"}), contains("the line has images"));
}

TEST_CASE("Files that fit a name with a star are one data set in the order of their names", "[data]") {
  scratch_folder const folder;
  std::string const line = R"({"prompt": "x", "chosen": "b", "rejected": "c"})";
  write_file(folder / "train-00001-of-00002.jsonl", line + "\n");
  write_file(folder / "train-00000-of-00002.jsonl", line + "\n" + line + "\n");
  write_file(folder / "test.jsonl", "no JSON\n");
  std::vector<std::string> places;
  json_line_reader reader(folder / "train-*.jsonl", {});
  while (reader.next([&](json_line one) { places.push_back(one.place); })) {
  }
  REQUIRE(places.size() == 3);
  CHECK(places[1] == "'" + (folder / "train-00000-of-00002.jsonl").string() + "':2");
  CHECK(places[2] == "'" + (folder / "train-00001-of-00002.jsonl").string() + "':1");
  CHECK_THROWS_WITH(json_line_reader(folder / "valid-*.jsonl", {}), contains("no file has such a name"));
}

TEST_CASE("Reading stops at the limit so that nothing after it is looked at", "[data]") {
  std::string const line = R"({"prompt": "x", "chosen": "b", "rejected": "c"})";
  CHECK(read(line + "\n" + line + "\nno JSON\n", {.most = 2}, data_kind::pairs).objects.size() == 2);
  CHECK_THROWS_WITH(read(line + "\n" + line + "\nno JSON\n", {.most = 3}, data_kind::pairs), contains("':3: not valid JSON"));
  std::string const rated = R"({"prompt": "a", "response": "b", "helpfulness": 3})";
  std::string const less = R"({"prompt": "a", "response": "c", "helpfulness": 1})";
  CHECK(read(rated + "\n" + less + "\n", {.format = data_format::helpsteer2, .most = 1}, data_kind::pairs).objects.size() == 1);
}

TEST_CASE("A report knows the shape of a file, and tells what it took it for", "[data]") {
  scratch_folder const folder;
  write_file(folder / "a.jsonl", R"({"history": "a", "human_ref_A": "b", "human_ref_B": "c", "labels": 1})"
                                 "\n");
  data_report const report = report_on_file(folder / "a.jsonl");
  CHECK(report.kind == data_kind::pairs);
  CHECK(report.examples == 1);
  REQUIRE(report.notes.size() == 1);
  CHECK(report.notes[0].starts_with("read in the format shp"));
}
