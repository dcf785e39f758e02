// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/formats/gguf.hpp>
#include <kedge/llm/formats/safetensors.hpp>
#include <kedge/llm/text/tokenizer.hpp>

#include "support/catch.hpp"
#include "support/gguf_builder.hpp"
#include "support/mutations.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;

namespace {

std::string const golden = KEDGE_TESTS_DIR "/golden/gguf/";

template <class T>
std::string number(T value) {
  return gguf_builder::number(value);
}

gguf_file opened(scratch_folder const& folder, std::string const& content) {
  write_file(folder / "x.gguf", content);
  return gguf_file(folder / "x.gguf");
}

/// Metadata of a llama without vocabulary and tensors.
gguf_builder tiny_llama(std::string const& without = "") {
  gguf_builder build;
  build.key("general.architecture", std::string("llama"));
  std::pair<char const*, std::uint32_t> const keys[] = {{"context_length", 64}, {"embedding_length", 8}, {"block_count", 1},
                                                        {"feed_forward_length", 8}, {"attention.head_count", 1}};
  for (auto const& [name, value] : keys)
    if (name != without) build.key(std::string("llama.") + name, value);
  return build.key("llama.attention.layer_norm_rms_epsilon", 1e-5F);
}

}  // namespace

TEST_CASE("blocks of every type decode bit for bit as the gguf package decodes them", "[gguf]") {
  gguf_file const file(golden + "blocks.gguf");
  safetensors_file const expected(golden + "blocks.safetensors");
  REQUIRE(file.tensors().size() == 26);
  REQUIRE(expected.tensors().size() == file.tensors().size());
  for (auto const& tensor : file.tensors()) {
    INFO(tensor.name);
    CHECK(gguf_type_name(tensor.type) == tensor.name);
    for (auto const& wanted : expected.tensors()) {
      if (wanted.name != tensor.name) continue;
      CHECK(tensor.shape == wanted.shape);
      std::vector<float> numbers(wanted.bytes.size() / sizeof(float));
      dequantise(tensor.type, tensor.bytes, numbers);
      std::vector<float> right(numbers.size());
      std::memcpy(right.data(), wanted.bytes.data(), wanted.bytes.size());
      // What is not a number has no sign that counts.
      CHECK(std::equal(numbers.begin(), numbers.end(), right.begin(), [](float a, float b) {
        return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (std::isnan(a) && std::isnan(b));
      }));
    }
  }
}

TEST_CASE("a type without a decoder is named when it is asked for", "[gguf]") {
  std::vector<std::byte> const bytes(66);
  std::vector<float> out(256);
  CHECK_THROWS_WITH(dequantise(9, bytes, out), contains("Q8_1"));
  CHECK_THROWS_WITH(dequantise(77, bytes, out), contains("type 77"));
  CHECK_THROWS_WITH(dequantise(8, bytes, out), contains("do not decode to 256 numbers"));
}

TEST_CASE("metadata of every type are read in versions 2 and 3", "[gguf]") {
  scratch_folder const folder;
  for (std::uint32_t const version : {2U, 3U}) {
    gguf_builder build;
    build.version = version;
    build.key("u8", 0, "\xff").key("i8", 1, "\xff").key("u16", 2, "\xff\xff").key("i16", 3, "\xff\xff").key("u32", 7U);
    build.key("i32", 5, number(-5)).key("f32", 0.5F).key("yes", 7, "\1").key("text", std::string{"träge"});
    build.key("u64", 10, number(std::uint64_t{1} << 62U)).key("i64", 11, number(std::int64_t{-1})).key("f64", 12, number(0.1));
    build.key("words", std::vector<std::string>{"a", "", "ü"});
    build.key("numbers", 9,
              number(std::uint32_t{3}) + number(std::uint64_t{2}) + number(std::int16_t{-2}) + number(std::int16_t{300}));
    build.key("reals", 9, number(std::uint32_t{6}) + number(std::uint64_t{1}) + number(0.25F));
    auto const file = opened(folder, build.file());
    CHECK(file.integer("u8") == 255);
    CHECK(file.integer("i8") == -1);
    CHECK(file.integer("u16") == 65535);
    CHECK(file.integer("i16") == -1);
    CHECK(file.integer("u32") == 7);
    CHECK(file.integer("i32") == -5);
    CHECK(file.real("f32") == 0.5);
    CHECK(file.boolean("yes") == true);
    CHECK(file.string("text") == "träge");
    CHECK(file.integer("u64") == std::int64_t{1} << 62U);
    CHECK(file.integer("i64") == -1);
    CHECK(file.real("f64") == 0.1);
    CHECK(file.array("words")->strings == std::vector<std::string_view>{"a", "", "ü"});
    CHECK(file.array("numbers")->integers() == std::vector<std::int64_t>{-2, 300});
    CHECK(file.array("reals")->reals() == std::vector<double>{0.25});
    CHECK_FALSE(file.integer("absent").has_value());
    CHECK_THROWS_WITH(file.integer("text"), contains("'text' is not an integer"));
    CHECK_THROWS_AS(file.array("words")->integers(), error);
  }
}

TEST_CASE("a GGUF file that lies is refused in one line", "[gguf]") {
  scratch_folder const folder;
  auto const refuses = [&](std::string const& content, std::string const& why) {
    CHECK_THROWS_WITH(opened(folder, content), contains(why));
  };
  refuses("", "truncated");
  refuses("GGML....", "does not begin with 'GGUF'");
  gguf_builder old;
  old.version = 1;
  refuses(old.file(), "version 1 is not known");

  gguf_builder many;
  many.tensor_count = std::uint64_t{1} << 60U;
  refuses(many.file(), "the number of tensors is 1152921504606846976, more than the file can hold");
  gguf_builder keys;
  keys.key_count = 0xffffffffU;
  refuses(keys.file(), "the number of metadata keys");
  refuses(gguf_builder{}.key("a", 8, number(~std::uint64_t{0})).file(), "more than the file can hold");
  refuses(gguf_builder{}.key("a", 9, number(std::uint32_t{8}) + number(std::uint64_t{1} << 50U)).file(),
          "more than the file can hold");
  refuses(gguf_builder{}.key("a", 9, number(std::uint32_t{4}) + number(~std::uint64_t{0} / 4)).file(),
          "more than the file can hold");
  refuses(gguf_builder{}.key("a", 99, "").file(), "unknown type 99");
  refuses(gguf_builder{}.key("a", 1U).key("a", 2U).file(), "'a' appears twice");
  refuses(gguf_builder{}.key("a", 8, gguf_builder::text("\xff")).file(), "not UTF-8");
  refuses(gguf_builder{}.key("a", 10, number(~std::uint64_t{0})).file(), "too large");
  std::string nest;
  for (int i = 0; i < 1000; ++i) nest += number(std::uint32_t{9}) + number(std::uint64_t{1});
  refuses(gguf_builder{}.key("a", 9, nest).file(), "too deeply");
  refuses(gguf_builder{}.key("general.alignment", 3U).file(), "its alignment is 3");

  std::string const numbers(128, 'n');
  refuses(gguf_builder{}.tensor("t", {32}, 0, "short").file(), "'t' reaches beyond the end");
  refuses(gguf_builder{}.tensor("t", {std::uint64_t{1} << 40U, std::uint64_t{1} << 40U}, 0, numbers).file(),
          "impossible shape");
  refuses(gguf_builder{}.tensor("t", {0}, 0, numbers).file(), "impossible shape");
  refuses(gguf_builder{}.tensor("t", {1, 1, 1, 1, 1}, 0, numbers).file(), "5 dimensions");
  refuses(gguf_builder{}.tensor("t", {std::uint64_t{1} << 40U}, 15, numbers).file(), "'t' lies beyond the end");
  refuses(gguf_builder{}.tensor("t", {31}, 8, numbers).file(), "no whole blocks of Q8_0");
  refuses(gguf_builder{}.tensor_at("t", {32}, 0, 8, numbers).file(), "impossible offset");
  refuses(gguf_builder{}.tensor_at("t", {32}, 0, ~std::uint64_t{0} - 31, numbers).file(), "impossible offset");
  refuses(gguf_builder{}.tensor("t", {32}, 0, numbers).tensor_at("u", {32}, 0, 32, numbers).file(), "'t' and 'u' overlap");
  refuses(gguf_builder{}.tensor("t", {32}, 0, numbers).tensor("t", {32}, 0, numbers).file(), "'t' appears twice");
  CHECK(opened(folder, gguf_builder{}.tensor("t", {32}, 0, numbers).file()).tensors().size() == 1);
}

TEST_CASE("every name of a split that llama.cpp knows gives its ids", "[gguf]") {
  scratch_folder const folder;
  auto const expected = read_json_file(golden + "splits.json");
  auto const tokens = expected.at("tokens").get<std::vector<std::string>>(), merges = expected.at("merges").get<std::vector<std::string>>();
  std::size_t names = 0;
  for (auto const& split : expected.at("splits"))
    for (auto const& name : split.at("names")) {
      CAPTURE(name.get<std::string>());
      auto const content = tiny_llama().key("tokenizer.ggml.model", std::string("gpt2")).key("tokenizer.ggml.pre", name.get<std::string>())
                               .key("tokenizer.ggml.tokens", tokens).key("tokenizer.ggml.merges", merges).file();
      write_file(folder / "x.gguf", content);
      auto const words = tokenizer::from_json(checkpoint::open(folder / "x.gguf").tokenizer);
      for (std::size_t i = 0; i < expected.at("texts").size(); ++i)
        CHECK(words.encode(expected["texts"][i].get<std::string>(), false) == split["ids"][i].get<std::vector<std::int32_t>>());
      ++names;
    }
  CHECK(names == 87);
}

TEST_CASE("what a vocabulary leaves open is what llama.cpp takes, and a split that nobody knows is refused", "[gguf]") {
  scratch_folder const folder;
  auto const open = [&](gguf_builder const& build) {
    write_file(folder / "x.gguf", build.file());
    return checkpoint::open(folder / "x.gguf");
  };
  auto const words = [](gguf_builder build, std::string const& kind) {
    build.key("tokenizer.ggml.model", kind).key("tokenizer.ggml.tokens", std::vector<std::string>{"<unk>", "<s>", "</s>", "a", "<|eot_id|>", "\xe2\x96\x81"});
    if (kind == "gpt2") return build.key("tokenizer.ggml.merges", std::vector<std::string>{});
    return build.key("tokenizer.ggml.scores", 9, number(std::uint32_t{6}) + number(std::uint64_t{6}) + std::string(24, '\0'));
  };
  auto const ids = [](checkpoint const& model) { return tokenizer::from_json(model.tokenizer).encode("a", true); };
  using list = std::vector<std::int32_t>;
  auto const named = [&](std::string const& pre) { return words(tiny_llama(), "gpt2").key("tokenizer.ggml.bos_token_id", 1U).key("tokenizer.ggml.pre", pre); };
  CHECK(ids(open(named("llama-bpe"))) == list{1, 3});
  CHECK(ids(open(named("tekken"))) == list{1, 3});
  CHECK(ids(open(named("qwen2"))) == list{3});
  CHECK(ids(open(named("llama-bpe").key("tokenizer.ggml.add_bos_token", 7, std::string(1, '\0')))) == list{3});
  auto const silent = open(words(tiny_llama(), "gpt2").key("tokenizer.ggml.eos_token_id", 2U));
  REQUIRE(silent.notes.size() == 1);
  CHECK(contains("tokenizer.ggml.pre").match(silent.notes.front()));
  CHECK(silent.generation_config["eos_token_id"] == std::vector<int>{2, 4});
  auto const pieces = open(words(tiny_llama(), "llama"));
  CHECK(ids(pieces) == list{1, 5, 3});
  CHECK(pieces.tokenizer_config["eos_token"] == "</s>");
  CHECK(ids(open(words(tiny_llama(), "llama").key("tokenizer.ggml.add_space_prefix", 7, std::string(1, '\0')))) == list{1, 3});

  CHECK_THROWS_WITH(open(named("llama-bpf")), contains("the nearest known name is 'llama-bpe'"));
  CHECK_THROWS_WITH(open(named("gemma4")), contains("isn't spelled in bytes"));
  CHECK_THROWS_WITH(open(words(tiny_llama(), "t5")), contains("vocabularies of the kind 't5'"));
}

TEST_CASE("every cut and every mutation of a GGUF model is an error or a model that can be read", "[gguf]") {
  scratch_folder const folder;
  std::string const sound = read_file(golden + "llama.gguf");
  auto const survives = [&](std::string const& content) {
    write_file(folder / "x.gguf", content);
    try {
      auto const model = checkpoint::open(folder / "x.gguf");
      std::vector<std::byte> buffer;
      for (auto const& entry : model.tensors()) {
        buffer.resize(entry.elements() * 2);
        model.read(entry.name, dtype::bf16, buffer);
      }
      return true;
    } catch (error const& refused) {
      return std::string_view{refused.what()}.find('\n') == std::string_view::npos;
    }
  };
  REQUIRE(survives(sound));
  std::size_t const header = sound.find("blk.1.ffn_down") + 64;  // the rest is numbers
  std::size_t bad = 0;
  for (std::size_t length = 0; length < header; length += 61) bad += survives(sound.substr(0, length)) ? 0U : 1U;
  for (std::uint64_t seed = 0; seed < 300; ++seed)
    bad += survives(mutations(seed)(sound.substr(0, header)) + sound.substr(header)) ? 0U : 1U;
  CHECK(bad == 0);
}
