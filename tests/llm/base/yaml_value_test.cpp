// SPDX-License-Identifier: Apache-2.0

// YAML as PyYAML reads it: scalars of version 1.1, aliases, merged mappings. The expected types and values are PyYAML's own (golden/make_soup.py).

#include <cmath>
#include <filesystem>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>

#include "../adapters/llm/src/base/yaml_value.hpp"
#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
namespace fs = std::filesystem;

namespace {

/// Python's name of a type.
std::string python_type(yaml_kind kind) {
  switch (kind) {
    case yaml_kind::null: return "NoneType";
    case yaml_kind::boolean: return "bool";
    case yaml_kind::integer: return "int";
    case yaml_kind::real: return "float";
    default: return "str";
  }
}

}  // namespace

TEST_CASE("plain scalars have the type and value that PyYAML gives them", "[yaml]") {
  auto const scalars = read_json_file(fs::path(KEDGE_TESTS_DIR) / "golden/soup/scalars.json");
  REQUIRE(scalars.size() > 70);
  for (auto const& row : scalars) {
    auto const text = row[0].get<std::string>(), type = row[1].get<std::string>(), value = row[2].get<std::string>();
    yaml_value const got = plain_scalar(text);
    INFO(text << " is " << type << " " << value << ", not " << name_of(got.kind) << " " << got.number);
    CHECK(python_type(got.kind) == type);
    if (type == "bool") CHECK((got.number != 0) == (value == "True"));
    if (type == "int" || type == "float") {
      double const wanted = number_in(value).value();
      CHECK((got.number == wanted || (std::isnan(got.number) && std::isnan(wanted))));
    }
  }
}

TEST_CASE("texts are numbers where Python would read one", "[yaml]") {
  CHECK(number_in(" 1e-1 ") == 0.1);
  CHECK(number_in("+.5") == 0.5);
  CHECK(number_in("1_0.5") == 10.5);
  CHECK(number_in("-inf") == -HUGE_VAL);
  for (char const* const none : {"", "1__0", "_1", "1_", "0x10", "+-1", "++1", "one", "1 0"}) CHECK_FALSE(number_in(none).has_value());
}

TEST_CASE("aliases are copied, << takes keys in, and the last of repeated keys counts", "[yaml]") {
  scratch_folder const folder;
  write_file(folder / "a.yml", "x: &x {a: 1, b: 'yes'}\ny:\n  <<: *x\n  b: 2\nz: {<<: [{a: 5}, *x]}\nw: 1\nw: !!str 2\n");
  yaml_document const read = read_yaml(folder / "a.yml");
  CHECK(read.root["x"]["b"].kind == yaml_kind::text);
  CHECK((read.root["y"]["a"].number == 1 && read.root["y"]["b"].number == 2));
  CHECK((read.root["z"]["a"].number == 5 && read.root["z"]["b"].text == "yes"));
  CHECK((read.root["w"].kind == yaml_kind::text && read.root["w"].line == 7));
  REQUIRE(read.notes.size() == 1);
  CHECK_THAT(read.notes[0], contains("line 7: 'w' appears twice"));
  CHECK(read.root["nowhere"].is_null());
}

TEST_CASE("what is no YAML of one document is refused with its line", "[yaml]") {
  scratch_folder const folder;
  auto const refuse = [&](std::string const& text, std::string const& what) {
    write_file(folder / "a.yml", text);
    INFO(text);
    CHECK_THROWS_WITH(read_yaml(folder / "a.yml"), contains(what) && contains("a.yml'"));
  };
  refuse("[", "not valid YAML");
  refuse("a: 1\n---\nb: 2\n", "2 YAML documents");
  refuse("a: &a [*a]\n", "beyond measure");
  refuse("a: !!python/object:os.system x\n", "the tag '");
  refuse("a:\n  <<: 3\n", "<< takes a mapping");
}
