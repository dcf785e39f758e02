// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/formats/gguf.hpp>

#include "support/catch.hpp"
#include "support/gguf_builder.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;

namespace {

std::string const golden = KEDGE_TESTS_DIR "/golden/gguf/";

/// Metadata of a llama without vocabulary and tensors.
gguf_builder llama() {
  gguf_builder build;
  build.key("general.architecture", std::string("llama")).key("llama.context_length", 64U).key("llama.embedding_length", 8U);
  build.key("llama.block_count", 1U).key("llama.feed_forward_length", 8U).key("llama.attention.head_count", 2U).key("llama.vocab_size", 4U);
  return build.key("llama.attention.layer_norm_rms_epsilon", 1e-5F);
}

checkpoint open(scratch_folder const& folder, gguf_builder const& build) {
  write_file(folder / "x.gguf", build.file());
  return checkpoint::open(folder / "x.gguf");
}

std::string const truth(1, '\1'), falsehood(1, '\0');

}  // namespace

TEST_CASE("a big-endian GGUF file is read as the little-endian one", "[gguf]") {
  gguf_file const turned(golden + "big_endian.gguf"), plain(golden + "blocks.gguf");
  CHECK(turned.big_endian());
  CHECK_FALSE(plain.big_endian());
  CHECK(turned.integer("llama.context_length") == 4096);
  CHECK(turned.real("llama.attention.layer_norm_rms_epsilon") == double{1e-5F});
  CHECK(turned.array("numbers")->integers() == std::vector<std::int64_t>{1, -2, 300});
  CHECK(turned.string("text") == "träge");
  REQUIRE(turned.tensors().size() == 7);
  for (auto const& tensor : turned.tensors())
    for (auto const& wanted : plain.tensors()) {
      if (wanted.name != tensor.name) continue;
      CAPTURE(tensor.name);
      CHECK(tensor.shape == wanted.shape);
      REQUIRE(tensor.bytes.size() == wanted.bytes.size());
      CHECK(std::memcmp(tensor.bytes.data(), wanted.bytes.data(), wanted.bytes.size()) == 0);
    }
}

TEST_CASE("a model in parts is opened from each of them and every part has to be there", "[gguf]") {
  scratch_folder const folder;
  auto const part = [](std::uint16_t number, gguf_builder build = {}) {
    return build.key("split.no", 2, gguf_builder::number(number)).key("split.count", 2, gguf_builder::number(std::uint16_t{3}))
        .key("split.tensors.count", 5, gguf_builder::number(std::int32_t{3}));
  };
  std::string const four(16, 'a');
  auto const name = [&](int number) { return folder / ("m-0000" + std::to_string(number) + "-of-00003.gguf"); };
  write_file(name(1), part(0, llama()).tensor("output_norm.weight", {4}, 0, four).file());
  write_file(name(2), part(1).tensor("blk.0.attn_norm.weight", {4}, 0, four).file());
  auto const last = part(2).tensor("output.weight", {4}, 0, four);
  write_file(name(3), last.file());
  for (int number : {1, 2, 3}) {
    auto const model = checkpoint::open(name(number));
    CHECK(model.tensors().size() == 3);
    CHECK(model.config["max_position_embeddings"] == 64);
    CHECK(model.config["tie_word_embeddings"] == false);  // stated by a tensor of the last part
    CHECK(model.notes.empty());
  }
  write_file(folder / "x.gguf", last.file());
  CHECK_THROWS_WITH(checkpoint::open(folder / "x.gguf"), contains("has to be called NAME-00003-of-00003.gguf"));
  write_file(name(3), part(2).tensor("output_norm.weight", {4}, 0, four).file());
  CHECK_THROWS_WITH(checkpoint::open(name(1)), contains("'output_norm.weight' appears twice"));
  write_file(name(3), part(2).file());
  CHECK_THROWS_WITH(checkpoint::open(name(1)), contains("hold 2 tensors, not 3"));
  std::filesystem::remove(name(3));
  CHECK_THROWS_WITH(checkpoint::open(name(1)), contains("part 3 of 3 of the model is not there"));
}

TEST_CASE("metadata that change the numbers are refused and others that nothing reads are told", "[gguf]") {
  scratch_folder const folder;
  auto const refuses = [&](gguf_builder const& build, std::string const& why) { CHECK_THROWS_WITH(open(folder, build), contains(why)); };
  refuses(llama().key("llama.expert_count", 8U), "lack 'llama.expert_used_count'");
  refuses(llama().key("llama.residual_scale", 0.5F), "'llama.residual_scale'");
  refuses(llama().key("llama.logit_scale", 8.0F), "'llama.logit_scale'");
  refuses(llama().key("llama.embedding_scale", 12.0F), "'llama.embedding_scale'");
  refuses(llama().key("llama.attention.scale", 0.1F), "'llama.attention.scale'");
  refuses(llama().key("llama.attention.layer_norm_epsilon", 1e-5F), "'llama.attention.layer_norm_epsilon'");
  refuses(llama().key("llama.attention.causal", 7, falsehood), "'llama.attention.causal' is false");
  refuses(llama().key("llama.final_logit_softcapping", 30.0F), "'llama.final_logit_softcapping'");
  refuses(llama().key("llama.attention.key_length", 4U).key("llama.attention.value_length", 8U), "'llama.attention.value_length' is 8");
  refuses(llama().key("general.type", std::string("adapter")), "the kind 'adapter'");
  auto const silent = [&](gguf_builder const& build) { CHECK(open(folder, build).notes.empty()); };
  silent(llama());
  silent(llama().key("llama.expert_count", 0U).key("llama.expert_used_count", 0U).key("llama.residual_scale", 1.0F));
  silent(llama().key("llama.attention.causal", 7, truth).key("llama.attention.sliding_window", 64U));
  silent(llama().key("llama.attention.key_length", 4U).key("llama.attention.value_length", 4U).key("general.whatever", 3U));
  auto const told = open(folder, llama().key("llama.attention.sliding_window", 16U).key("llama.novelty", 2.5F).key("tokenizer.ggml.novelty", 1U));
  REQUIRE(told.notes.size() == 1);
  CHECK(contains("of its metadata kedge does not use llama.attention.sliding_window = 16, llama.novelty = 2.5, tokenizer.ggml.novelty")
            .match(told.notes.front()));
}

TEST_CASE("rotary scaling is read as llama.cpp reads it", "[gguf]") {
  scratch_folder const folder;
  auto const rope = [&](gguf_builder const& build) { return open(folder, build).config["rope_parameters"]; };
  auto const linear = [&](gguf_builder const& build) {
    auto const read = rope(build);
    return read["rope_type"] == "linear" && read["factor"] == 4.0;
  };
  CHECK(linear(llama().key("llama.rope.scaling.type", std::string("linear")).key("llama.rope.scaling.factor", 4.0F)));
  CHECK(linear(llama().key("llama.rope.scale_linear", 4.0F)));
  CHECK(linear(llama().key("llama.rope.scaling.factor", 4.0F)));
  CHECK(rope(llama().key("llama.rope.scaling.type", std::string("none")).key("llama.rope.scaling.factor", 4.0F))["rope_type"] == "default");
  CHECK(rope(llama().key("llama.rope.scaling.factor", 0.0F))["rope_type"] == "default");
  CHECK_THROWS_WITH(rope(llama().key("llama.rope.scaling.factor", -4.0F)), contains("not positive"));
  CHECK_THROWS_WITH(rope(llama().key("llama.rope.scaling.type", std::string("odd")).key("llama.rope.scaling.factor", 4.0F)), contains("'odd'"));
}

TEST_CASE("a number for every layer is one number where all are the same", "[gguf]") {
  scratch_folder const folder;
  auto const heads = [](std::uint32_t a, std::uint32_t b) {
    gguf_builder build;
    build.key("general.architecture", std::string("llama")).key("llama.context_length", 64U).key("llama.embedding_length", 8U);
    build.key("llama.block_count", 2U).key("llama.feed_forward_length", 8U).key("llama.vocab_size", 4U);
    build.key("llama.attention.head_count", 9, gguf_builder::number(std::uint32_t{4}) + gguf_builder::number(std::uint64_t{2}) +
                                                   gguf_builder::number(a) + gguf_builder::number(b));
    return build.key("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  };
  CHECK(open(folder, heads(2, 2)).config["num_attention_heads"] == 2);
  CHECK_THROWS_WITH(open(folder, heads(2, 4)), contains("differs from layer to layer"));
}
