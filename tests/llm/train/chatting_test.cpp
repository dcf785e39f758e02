// SPDX-License-Identifier: Apache-2.0

// A conversation: each answer is what `kedge generate` writes behind all messages before, whatever is kept of them.

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/train/chatting.hpp>

#include "support/catch.hpp"
#include "support/json_lines.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

namespace {

fs::path const tiny = fs::path(KEDGE_TESTS_DIR) / "golden/tiny";

chat_settings talk(fs::path const& model) {
  chat_settings s;
  s.generate.model = model;
  s.generate.compute.dtype = compute_type::float32;
  s.generate.compute.threads = 1;
  s.generate.temperature = 0;
  s.generate.max_new_tokens = 7;
  s.generate.quiet = true;
  return s;
}

/// What is said to these lines.
std::string said(chat_settings const& settings, std::string const& input) {
  std::istringstream in(input);
  std::string out;
  chat(settings, in, [&](std::string_view piece) { out += piece; });
  return out;
}

/// The likeliest answer to a list of messages, as generate writes it.
std::string answer(json const& messages) {
  scratch_folder const folder;
  std::ofstream(folder / "prompt.jsonl") << json{{"prompt", messages}}.dump() << '\n';
  generate_settings s = talk(tiny / "linear").generate;
  s.prompts = folder / "prompt.jsonl";
  std::string text;
  (void)generate_completions(s, [&](std::string_view line) { text = json::parse(line).at("completion").get<std::string>(); });
  return text;
}

json message(char const* role, std::string const& content) { return {{"role", role}, {"content", content}}; }

}  // namespace

TEST_CASE("an answer is what generate writes behind all messages before", "[chat]") {
  json messages = json::array({message("user", "Name a colour.")});
  std::string const first = answer(messages);
  messages.push_back(message("assistant", first));
  messages.push_back(message("user", "Another\none."));
  std::string const second = answer(messages);
  CHECK(first != second);
  CHECK(said(talk(tiny / "linear"), "Name a colour.\n\nAnother\\\none.\n") == first + "\n" + second + "\n");
  chat_settings once = talk(tiny / "linear");
  once.prompt = "Name a colour.";
  CHECK(said(once, "not read\n") == first + "\n");
}

TEST_CASE("commands begin anew and end a conversation", "[chat]") {
  std::string const first = answer(json::array({message("user", "Greet me.")})),
                    told = answer(json::array({message("system", "Be brief."), message("user", "Greet me.")})),
                    slash = answer(json::array({message("system", "Be brief."), message("user", "/etc?")}));
  chat_settings const s = talk(tiny / "linear");
  CHECK(said(s, "Greet me.\n/reset\nGreet me.\n/system Be brief.\nGreet me.\n/reset\n//etc?\n/exit\nGreet me.\n") ==
        first + "\n" + first + "\n" + told + "\n" + slash + "\n");
  CHECK_THROWS_WITH(said(s, "/rest\n"), contains("no command '/rest'"));
}

TEST_CASE("a model without a chat template can't be talked to", "[chat]") {
  scratch_folder const folder;
  fs::copy(tiny / "tied", folder / "model");
  fs::remove(folder / "model" / "chat_template.jinja");
  CHECK_THROWS_WITH(said(talk(folder / "model"), "Hello.\n"), contains("no chat template"));
}
