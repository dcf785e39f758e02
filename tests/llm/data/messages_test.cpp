// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/data/demonstrations.hpp>
#include <kedge/llm/data/preferences.hpp>
#include <kedge/llm/data/prompts.hpp>

#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
using json = nlohmann::ordered_json;

namespace {

preference_example pair_of(std::string const& line) {
  scratch_folder const folder;
  write_file(folder / "pairs.jsonl", line + "\n");
  return read_preferences(folder / "pairs.jsonl", false, nullptr).front();
}

demonstration demonstration_of(std::string const& line) {
  scratch_folder const folder;
  write_file(folder / "data.jsonl", line + "\n");
  return read_demonstrations(folder / "data.jsonl", false, nullptr).front();
}

json message(std::string const& role, json const& content) { return {{"role", role}, {"content", content}}; }

json const conversation{{"prompt", json::array({message("user", "Which way?")})},
                        {"chosen", json::array({message("assistant", "West.")})},
                        {"rejected", json::array({message("assistant", "No idea.")})}};

bool same(preference_example const& a, preference_example const& b) { return a.prompt == b.prompt && a.chosen == b.chosen && a.rejected == b.rejected && a.extra == b.extra; }

}  // namespace

TEST_CASE("A null key is an absent one in every place of a line", "[data]") {
  preference_example const plain = pair_of(conversation.dump());
  for (char const* const key : {"tools", "chat_template_kwargs", "score_chosen", "score_rejected", "margin", "ref_chosen_logps", "ref_rejected_logps", "images", "messages", "label",
                                "completion", "anything"}) {
    INFO(key);
    json line = conversation;
    line[key] = nullptr;
    CHECK(same(pair_of(line.dump()), plain));
  }
  for (char const* const key : {"tool_calls", "name", "tool_call_id", "reasoning_content", "thinking", "anything"})
    for (char const* const part : {"prompt", "chosen", "rejected"}) {
      INFO(key << " of " << part);
      json line = conversation;
      line[part][0][key] = nullptr;
      CHECK(same(pair_of(line.dump()), plain));
    }
  json const tools = json::parse(R"([{"type": "function", "function": {"name": "wind", "parameters": {"properties": {"place": {"type": "string"}}}}}])");
  json full = conversation, with_nulls = conversation;
  full["tools"] = tools;
  with_nulls["tools"] = tools;
  with_nulls["tools"][0]["function"]["description"] = nullptr;
  with_nulls["tools"][0]["function"]["parameters"]["properties"]["depth"] = nullptr;
  CHECK(same(pair_of(with_nulls.dump()), pair_of(full.dump())));
  json implicit{{"prompt", nullptr}, {"chosen", "ab"}, {"rejected", "ac"}};
  CHECK(pair_of(implicit.dump()).prompt == "a");
  CHECK_THROWS_WITH(pair_of(R"({"prompt": "a", "chosen": null, "rejected": "c"})"), contains("the key 'chosen' is missing"));
  CHECK(demonstration_of(R"({"prompt": null, "completion": null, "messages": [{"role": "user", "content": "a", "name": null}]})").completion ==
        json::array({message("user", "a")}));
}

TEST_CASE("The order of keys means nothing where the implicit prompt ends", "[data]") {
  json const both = json::parse(R"({"chosen": [{"role": "user", "content": "Where?", "x": {"a": 1, "b": [2]}}, {"role": "assistant", "content": "Here."}],
                               "rejected": [{"content": "Where?", "x": {"b": [2], "a": 1}, "name": null, "role": "user"}, {"content": "Gone.", "role": "assistant"}]})");
  auto const line = pair_of(both.dump());
  CHECK(line.prompt.size() == 1);
  CHECK(line.chosen.size() == 1);
  CHECK(line.rejected.size() == 1);
  CHECK(line.rejected[0].at("content") == "Gone.");
}

TEST_CASE("Parts of text are read, and pictures are refused with the reason", "[data]") {
  json line = conversation;
  line["prompt"][0]["content"] = json::array({{{"type", "text"}, {"text", "Which way?"}, {"image", nullptr}}});
  CHECK(pair_of(line.dump()).prompt[0].at("content")[0].size() == 2);
  line["prompt"][0]["content"][0] = {{"type", "image"}};
  CHECK_THROWS_WITH(pair_of(line.dump()), contains("prompt has a message with a part of type \"image\"; kedge trains on text alone"));
  json column = conversation;
  column["images"] = json::array({"a.png"});
  CHECK_THROWS_WITH(pair_of(column.dump()), contains("the line has images, which a model of text does not see"));
  column["images"] = json::array();
  CHECK_NOTHROW(pair_of(column.dump()));
}

TEST_CASE("Other shapes are refused with the one that is wanted", "[data]") {
  auto const refuses = [](std::string const& line, std::string const& why) { CHECK_THROWS_WITH(pair_of(line), contains(why)); };
  refuses(R"({"prompt": "a", "chosen": {"role": "assistant", "content": "b"}, "rejected": "c"})", "chosen is one object; kedge reads a text, or a list of messages");
  refuses(R"({"chosen": [{"from": "human", "value": "a"}], "rejected": [{"from": "human", "value": "b"}]})", "kedge reads 'role'");
  refuses(R"({"question": "a", "chosen": "West", "rejected": "No"})", "is it the key 'question'? Call it 'prompt'");
  refuses(R"({"messages": [{"role": "user", "content": "a"}], "chosen": "West", "rejected": "No"})", "is it the key 'messages'?");
  refuses("[", "the file is a JSON list; write one object a line");
  refuses("prompt,chosen,rejected", "of a table of comma-separated values write one JSON object a line");
  refuses(std::string("\xff\xfe{\0", 4), "the file is UTF-16");
}

TEST_CASE("NaN and Infinity are read as Python writes them", "[data]") {
  json const value = parse_json(R"({"a": NaN, "b": [Infinity, -Infinity, 1], "c": "NaN, \"Infinity\"", "d": -1})", "x");
  CHECK(std::isnan(value.at("a").get<double>()));
  CHECK(value.at("b")[0].get<double>() == INFINITY);
  CHECK(value.at("b")[1].get<double>() == -INFINITY);
  CHECK(value.at("c") == "NaN, \"Infinity\"");
  CHECK_THROWS_WITH(parse_json("{\"a\": nan}", "x"), contains("not valid JSON"));
  CHECK_THROWS_WITH(parse_json("{\"a\": NaN", "x"), contains("not valid JSON"));
  CHECK(pair_of(R"({"prompt": "a", "chosen": "b", "rejected": "c", "score_chosen": NaN})").chosen == "b");
}
