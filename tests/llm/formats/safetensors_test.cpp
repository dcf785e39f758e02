// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <numeric>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/formats/safetensors.hpp>

#include "support/catch.hpp"
#include "support/mutations.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;

namespace {

std::string with_length(std::string const& header, std::string const& data) {
  std::uint64_t const length = header.size();
  std::string out(sizeof length, '\0');
  std::memcpy(out.data(), &length, sizeof length);
  return out + header + data;
}

/// Opens a file with this header and `bytes` bytes of data.
std::size_t open_header(scratch_folder const& folder, std::string const& header, std::size_t bytes) {
  write_file(folder / "x.safetensors", with_length(header, std::string(bytes, '\1')));
  return safetensors_file(folder / "x.safetensors").tensors().size();
}

std::string bytes_of(safetensors_entry const& entry) {
  return {reinterpret_cast<char const*>(entry.bytes.data()), entry.bytes.size()};
}

std::span<std::byte const> view(std::string const& text) { return std::as_bytes(std::span{text.data(), text.size()}); }

}  // namespace

TEST_CASE("what is written as safetensors is read back and aligned", "[safetensors]") {
  scratch_folder const folder;
  std::string const odd = "abcdef";
  std::string const wide(16, 'w');
  write_safetensors(folder / "m.safetensors",
                    {{"b", dtype::bf16, {3}, view(odd)},
                     {"a", dtype::u8, {2, 3}, view(odd)},
                     {"c", dtype::f64, {2}, view(wide)},
                     {"empty", dtype::f32, {0, 5}, {}},
                     {"one", dtype::bf16, {}, view(odd).subspan(0, 2)}},
                    {{"format", "pt"}, {"note", "ä\"\n"}});
  safetensors_file const file(folder / "m.safetensors");
  CHECK(file.metadata().at("note") == "ä\"\n");
  REQUIRE(file.tensors().size() == 5);
  CHECK(file.tensors()[0].name == "c");  // widest first
  for (auto const& t : file.tensors()) {
    if (t.name == "b") CHECK((t.stored_type == "BF16" && t.shape == std::vector<std::int64_t>{3} && bytes_of(t) == odd));
    if (t.name == "a") CHECK((t.type == dtype::u8 && t.shape == std::vector<std::int64_t>{2, 3} && bytes_of(t) == odd));
    if (t.name == "one") CHECK((t.shape.empty() && t.bytes.size() == 2));
    CHECK(reinterpret_cast<std::uintptr_t>(t.bytes.data()) % size_of(*t.type) == 0);
  }
  CHECK(names_in(folder.path()) == "m.safetensors");
}

TEST_CASE("a safetensors header that lies is refused", "[safetensors]") {
  scratch_folder const folder;
  auto const open = [&](std::string const& header, std::size_t bytes) { return open_header(folder, header, bytes); };
  CHECK(open(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8) == 1);
  CHECK(open(R"({"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}  )", 2) == 1);
  CHECK_THROWS_WITH(open(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7),
                    contains("tensor 'a' claims bytes 0 to 8"));
  CHECK_THROWS_WITH(open(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9),
                    contains("take 8 bytes, but the file holds 9"));
  CHECK_THROWS_WITH(open(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8),
                    contains("shape and dtype contradict"));
  CHECK_THROWS_WITH(open(R"({"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}})", 8), contains("unknown dtype"));
  CHECK_THROWS_WITH(open(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,8]}})", 8),
                    contains("impossible shape"));
  CHECK_THROWS_WITH(open(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8), contains("impossible shape"));
  CHECK_THROWS_WITH(open(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8), contains("claims bytes 8 to 0"));
  CHECK_THROWS_WITH(open(R"({"a":{"dtype":"F32","shape":[2]}})", 8), contains("lacks dtype, shape or data_offsets"));
  CHECK_THROWS_WITH(
      open(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})", 6),
      contains("overlap others or leave a hole"));
  CHECK_THROWS_WITH(
      open(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[5,9]}})", 9),
      contains("tensor 'b' overlap others or leave a hole"));
  CHECK_THROWS_WITH(
      open(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
      contains("the key 'a' appears twice"));
  CHECK_THROWS_WITH(open(R"({"__metadata__":{"x":1}})", 0), contains("__metadata__"));
  CHECK_THROWS_WITH(open(R"({"a":)", 0), contains("not valid JSON"));
  CHECK_THROWS_WITH(open(R"([1])", 0), contains("does not begin with '{'"));
  CHECK_THROWS_WITH(open(R"({"a":[[[[[[]]]]]]})", 0), contains("nested deeper"));
}

TEST_CASE("a header longer than its file and a file too short for one are refused", "[safetensors]") {
  scratch_folder const folder;
  auto const open = [&](std::string const& content) {
    write_file(folder / "x", content);
    return safetensors_file(folder / "x").tensors().size();
  };
  CHECK_THROWS_WITH(open(""), contains("only 0 bytes long"));
  CHECK_THROWS_WITH(open("1234567"), contains("only 7 bytes long"));
  CHECK_THROWS_WITH(open(std::string(8, '\xff') + "{}"), contains("its header claims 18446744073709551615 bytes"));
  CHECK_THROWS_WITH(open(std::string("\x03\0\0\0\0\0\0\0{}", 10)), contains("its header claims 3 bytes"));
  CHECK(open(with_length("{}", "")) == 0);
  CHECK_THROWS_WITH(safetensors_file(folder / "absent"), contains("absent': No such file"));
  CHECK_THROWS_WITH(safetensors_file(folder.path()), contains("not a regular file"));
}

TEST_CASE("every cut and every mutation of a safetensors file is an error or a file that holds together", "[safetensors]") {
  scratch_folder const folder;
  std::string const header =
      R"({"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]}})";
  std::string const sound = with_length(header, std::string(14, 'd'));
  auto const survives = [&](std::string const& content) {
    write_file(folder / "x", content);
    try {
      safetensors_file const file(folder / "x");
      std::size_t total = 0;
      [[maybe_unused]] std::byte volatile touched{};
      for (auto const& t : file.tensors()) {
        total += t.bytes.size();
        for (std::byte const b : t.bytes) touched = b;
      }
      return total < content.size();
    } catch (error const& refused) {
      return std::string_view{refused.what()}.find('\n') == std::string_view::npos;
    }
  };
  std::size_t bad = 0;
  for (std::size_t length = 0; length < sound.size(); ++length) bad += survives(sound.substr(0, length)) ? 0U : 1U;
  for (std::uint64_t seed = 0; seed < 3000; ++seed) bad += survives(mutations(seed)(sound)) ? 0U : 1U;
  CHECK(bad == 0);
}

TEST_CASE("bytes that do not fit the plan and names that cannot be are not written", "[safetensors]") {
  scratch_folder const folder;
  std::string const eight(8, 'x');
  auto const write = [&](std::vector<tensor_to_write> const& tensors) { write_safetensors(folder / "m", tensors, {}); };
  CHECK_THROWS_WITH(write({{"a", dtype::f32, {3}, view(eight)}}), contains("tensor 'a' should have 12 bytes, but 8"));
  CHECK_THROWS_WITH(write({{"a", dtype::f32, {2}, view(eight)}, {"a", dtype::f32, {2}, view(eight)}}), contains("'a'"));
  CHECK_THROWS_WITH(write({{"__metadata__", dtype::f32, {2}, view(eight)}}), contains("not allowed"));
  CHECK_THROWS_WITH(write({{"\xff", dtype::f32, {2}, view(eight)}}), contains("not allowed"));
  CHECK_THROWS_WITH(write({{"a", dtype::f32, {-2}, view(eight)}}), contains("impossible shape"));
  CHECK(names_in(folder.path()).empty());
}

TEST_CASE("a model larger than a shard is split and the index names every tensor's file", "[safetensors]") {
  scratch_folder const folder;
  std::vector<tensor_plan> const plan{
      {"a", dtype::f32, {4}}, {"b", dtype::bf16, {2, 2}}, {"c", dtype::f32, {10}}, {"d", dtype::f32, {1}}};
  std::vector<std::string> data;
  for (auto const& t : plan) data.emplace_back(t.bytes(), static_cast<char>('A' + data.size()));
  std::vector<std::size_t> asked;
  auto const source = [&](std::size_t i) {
    asked.push_back(i);
    return view(data[i]);
  };
  write_model_safetensors(folder.path(), plan, source, 24);
  CHECK(names_in(folder.path()) ==
        "model-00001-of-00003.safetensors model-00002-of-00003.safetensors model-00003-of-00003.safetensors "
        "model.safetensors.index.json");
  CHECK(asked.size() == plan.size());
  auto const index = read_json_file(folder / "model.safetensors.index.json");
  CHECK(index.at("metadata").at("total_size") == 16 + 8 + 40 + 4);
  CHECK(index.at("metadata").at("total_parameters") == 19);
  CHECK(index.at("weight_map").at("c") == "model-00002-of-00003.safetensors");
  CHECK(bytes_of(safetensors_file(folder / "model-00002-of-00003.safetensors").tensors().at(0)) == data[2]);
  CHECK(safetensors_file(folder / "model-00001-of-00003.safetensors").metadata().at("format") == "pt");

  scratch_folder const single;
  write_model_safetensors(single.path(), plan, source);
  CHECK(names_in(single.path()) == "model.safetensors");
}
