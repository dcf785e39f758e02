// SPDX-License-Identifier: Apache-2.0
#include "kedge/llm/text/chat_template.hpp"

#include <ctime>
#include <filesystem>
#include <map>
#include <string>

#include <nlohmann/json.hpp>

#include "kedge/llm/base/error.hpp"
#include "kedge/llm/base/json.hpp"
#include "support/catch.hpp"

namespace {

using json = nlohmann::ordered_json;
using kedge::llm::chat_template;
using kedge::testing::contains;

json read(std::string const& name) {
  return kedge::llm::read_json_file(std::filesystem::path(KEDGE_TESTS_DIR) / "golden" / "text" / name);
}

std::string render(std::string const& source, json const& variables = json::object()) {
  return chat_template(source).render(json::array(), false, variables);
}

}  // namespace

TEST_CASE("Chat templates of model families render as transformers renders them", "[chat_template]") {
  json const golden = read("chat_templates.json");
  std::map<std::string, chat_template> parsed;
  for (auto const& [name, source] : golden["templates"].items()) parsed.emplace(name, chat_template(source.get<std::string>()));
  for (json const& c : golden["cases"]) {
    INFO(c["template"] << ", conversation " << c["conversation"] << ", settings " << c["settings"] << ", prompt " << c["prompt"]);
    auto const text = [&] {
      return parsed.at(c["template"].get<std::string>())
          .render(golden["conversations"][c["conversation"].get<std::size_t>()], c["prompt"].get<bool>(),
                  golden["settings"][c["settings"].get<std::size_t>()]);
    };
    if (c.contains("error"))
      REQUIRE_THROWS_AS(text(), kedge::llm::error);
    else
      REQUIRE(text() == c["expected"].get<std::string>());
  }
}

TEST_CASE("Each rule of the template language holds as in Jinja", "[chat_template]") {
  json const golden = read("snippets.json");
  json const messages = json::array({{{"role", "user"}, {"content", "x"}}});
  std::size_t errors = 0;
  for (json const& c : golden["cases"]) {
    INFO(c["template"].dump());
    auto const text = [&] { return chat_template(c["template"].get<std::string>()).render(messages, false, golden["variables"]); };
    if (c.contains("error")) {
      REQUIRE_THROWS_AS(text(), kedge::llm::error);
      ++errors;
    } else {
      REQUIRE(text() == c["expected"].get<std::string>());
    }
  }
  CHECK(errors > 50);
}

TEST_CASE("An unsupported or malformed construct is named with its line", "[chat_template]") {
  CHECK_THROWS_WITH(chat_template("a\n\n{% include 'x' %}"), contains("line 3: the tag {% include %} is not supported"));
  CHECK_THROWS_WITH(chat_template("{% for x in y %}\n"), contains("{% endfor %} is missing"));
  CHECK_THROWS_WITH(chat_template("\n{{ a b }}"), contains("line 2"));
  CHECK_THROWS_WITH(chat_template("{# never closed"), contains("comment without #}"));
  CHECK_THROWS_WITH(render("x\n{{ 'a' | xmlattr }}"), contains("line 2: the filter 'xmlattr' is not supported"));
  CHECK_THROWS_WITH(render("{{ 1 is escaped }}"), contains("line 1: the test 'escaped' is not supported"));
  CHECK_THROWS_WITH(render("{{ lipsum() }}"), contains("'lipsum' is not supported"));
  CHECK_THROWS_WITH(render("\n\n{{ nobody.name }}"), contains("line 3: 'nobody' is undefined"));
  CHECK_THROWS_WITH(chat_template("\xFF"), contains("not valid UTF-8"));
}

TEST_CASE("The template's own complaint reaches the caller", "[chat_template]") {
  CHECK_THROWS_WITH(render("a\n{{ raise_exception('roles must alternate') }}"), contains("line 2: roles must alternate"));
}

TEST_CASE("A template can't hang or fill the memory or exhaust the stack", "[chat_template]") {
  CHECK_THROWS_WITH(render("{% set a = range(100000)|list %}{% for i in range(100000) %}{% set x = a|list %}{% endfor %}"), contains("too many steps"));
  CHECK_THROWS_WITH(render("{% set ns = namespace(x='abcdefgh') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"), contains("too many steps"));
  CHECK_THROWS_WITH(render("{{ 'x' * 1000000000000 }}"), contains("too long"));
  CHECK_THROWS_WITH(render("{% set ns = namespace(x=[1]) %}{% for i in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}"), contains("nested deeper"));
  CHECK_THROWS_WITH(render("{% set ns = namespace(x=1) %}{% for i in range(90000) %}{% set ns.x = [ns.x].index %}{% endfor %}"), contains("nested deeper"));
  CHECK_THROWS_WITH(render("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}"), contains("nested deeper"));
  CHECK_THROWS_WITH(chat_template("{{ " + std::string(100'000, '(') + "1" + std::string(100'000, ')') + " }}"), contains("nest"));
  CHECK_THROWS_WITH(chat_template("{{ " + std::string(100'000, '-') + "1 }}"), contains("nest"));
  CHECK_THROWS_WITH(render("{{ '%99999999d' % 1 }}"), contains("wider"));
  CHECK(render("{% set ns = namespace() %}{% set ns.self = ns %}{% set ns.list = [ns] %}ok") == "ok");
}

TEST_CASE("Work on long texts and on shared lists counts by its size", "[chat_template]") {
  std::string const text = "{% set s = 'ab' * 500000 %}{% set t = 'ab' * 500000 %}{% for i in range(100000) %}{% set x = ";
  for (char const* expression :
       {"s|upper", "s|replace('ab', 'b')", "s|trim", "s|wordcount", "s|tojson", "s.strip()", "s.split('x')", "s.find('zz')", "'%s' % s", "s[::-1]",
        "'zz' in s", "s == t", "s ~ t", "s|list|length", "{t: 1}[s]", "[s, t]|sort", "[s, t]|unique|list", "s is eq(t)", "s|int"}) {
    INFO(expression);
    CHECK_THROWS_WITH(render(text + expression + " %}{% endfor %}"), contains("too many steps"));
  }
  // 2^40 leaves, each list in two places of the next.
  std::string const shared = "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}";
  for (char const* expression : {"ns.x", "ns.x == ns.y", "ns.x|tojson", "ns.x|string", "ns.x in [ns.y]", "[ns.x, ns.y]|unique|list", "ns.x ~ ''", "'%s' % ns.x",
                                 "ns.x|pprint", "ns.x < ns.y", "[ns.x, ns.y]|sort", "ns.x|join"}) {
    INFO(expression);
    CHECK_THROWS_WITH(render(shared + "{{ " + expression + " }}"), contains("chat template"));
  }
}

TEST_CASE("A conversation deeper than any real one is refused", "[chat_template]") {
  json deep = "x";
  for (int i = 0; i < 1000; ++i) deep = json::array({std::move(deep)});
  json const messages = json::array({{{"role", "user"}, {"content", deep}}});
  CHECK_THROWS_WITH(chat_template("x").render(messages, false, json::object()), contains("nested deeper"));
}

TEST_CASE("strftime_now tells the date of today", "[chat_template]") {
  auto const year = [] {
    std::time_t const now = std::time(nullptr);
    return std::to_string(1900 + std::localtime(&now)->tm_year);
  };
  std::string const before = year();
  std::string const told = render("{{ strftime_now('%Y') }}");
  CHECK((told == before || told == year()));
}

TEST_CASE("Tools and documents are none unless they are given", "[chat_template]") {
  CHECK(render("{{ tools is none }}{{ documents is none }}{{ other is defined }}") == "TrueTrueFalse");
  CHECK(render("{{ tools }}", {{"tools", json::array({1})}}) == "[1]");
}

TEST_CASE("A message's reasoning is seen under the names that templates read", "[chat_template]") {
  json const messages = json::array({{{"role", "assistant"}, {"content", "c"}, {"reasoning", "r"}}});
  CHECK(chat_template("{{ messages[0].reasoning_content }}{{ messages[0].thinking }}").render(messages, false, json::object()) == "rr");
}
