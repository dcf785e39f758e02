// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/formats/safetensors.hpp>
#include <kedge/llm/text/tokenizer.hpp>

#include "support/catch.hpp"
#include "support/gguf_builder.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
using json = nlohmann::ordered_json;

namespace {

std::string const golden = KEDGE_TESTS_DIR "/golden/";

/// FNV-1a with 64 bits, as the golden files have it.
std::string hash_of(std::span<std::byte const> bytes) {
  std::uint64_t value = 0xcbf29ce484222325U;
  for (auto const byte : bytes) value = (value ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3U;
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

std::vector<std::byte> read(checkpoint const& model, std::string const& name, dtype as) {
  std::vector<std::byte> out(model.entry(name).elements() * size_of(as));
  model.read(name, as, out);
  return out;
}

std::span<std::byte const> view(std::string const& text) { return std::as_bytes(std::span{text.data(), text.size()}); }

/// A folder with two tensors in one file.
void write_model(std::filesystem::path const& folder) {
  write_file(folder / "config.json", "{\"model_type\": \"llama\"}\n");
  std::string const four("\0\0\x80\x3f\0\0\0\xc0", 8);  // 1, -2 in binary32
  std::string const brain("\x80\x3f\0\xc0", 4);         // 1, -2 in bfloat16
  write_safetensors(folder / "model.safetensors",
                    {{"wide", dtype::f32, {2}, view(four)}, {"narrow", dtype::bf16, {1, 2}, view(brain)}}, {});
}

}  // namespace

TEST_CASE("the largest Gemma models read from GGUF divide their scores as they were trained to", "[gguf]") {
  scratch_folder const folder;
  auto const scalar = [&](std::string const& type, std::uint32_t layers, std::uint32_t hidden, std::uint32_t head) {
    gguf_builder build;
    build.key("general.architecture", type).key(type + ".embedding_length", hidden).key(type + ".block_count", layers);
    build.key(type + ".feed_forward_length", 8U).key(type + ".context_length", 8U).key(type + ".attention.layer_norm_rms_epsilon", 1e-6F);
    build.key(type + ".attention.head_count", 32U).key(type + ".attention.key_length", head).key(type + ".vocab_size", 4U);
    write_file(folder / "x.gguf", build.file());
    return checkpoint::open(folder / "x.gguf").config.at("query_pre_attn_scalar");
  };
  CHECK(scalar("gemma2", 46, 4608, 128) == 144);
  CHECK(scalar("gemma3", 62, 5376, 128) == 168);
  CHECK(scalar("gemma2", 42, 3584, 256) == 256);
}

TEST_CASE("a GGUF model is what transformers makes of it bit for bit", "[checkpoint]") {
  for (std::string const family : {"llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"}) {
    INFO(family);
    auto const model = checkpoint::open(golden + "gguf/" + family + ".gguf");
    json const wanted = read_json_file(golden + "gguf/" + family + ".json");
    CHECK(model.tensors().size() == wanted.at("tensors").size());
    for (auto const& [name, tensor] : wanted.at("tensors").items()) {
      INFO(name);
      REQUIRE(model.contains(name));
      CHECK(json(model.entry(name).shape) == tensor.at("shape"));
      CHECK(hash_of(read(model, name, dtype::f32)) == tensor.at("hash").get<std::string>());
    }
  }
}

TEST_CASE("config.json of a GGUF model agrees with transformers in every key that it states", "[checkpoint]") {
  for (std::string const family : {"llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"}) {
    INFO(family);
    auto const model = checkpoint::open(golden + "gguf/" + family + ".gguf");
    json const wanted = read_json_file(golden + "gguf/" + family + ".json").at("config");
    for (auto const* key :
         {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size",
          "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings", "bos_token_id", "eos_token_id", "model_type"}) {
      INFO(key);
      CHECK(model.config.at(key) == wanted.at(key));
    }
    for (auto const& [key, value] : model.config.items()) {
      INFO(key);
      // Not in the file: transformers takes 256, llama.cpp a head's size, which is 256 in all models that were released.
      if (key == "query_pre_attn_scalar") continue;
      if (wanted.contains(key) && key != "rope_parameters") CHECK(value == wanted.at(key));
    }
    CHECK(model.config.at("architectures").at(0).get<std::string>().ends_with("ForCausalLM"));
    if (family != "gemma3") CHECK(model.config.at("rope_parameters").at("rope_theta") == 50000.0);
    CHECK(model.chat_templates == template_sources{{"default", "{% for m in messages %}{{ m['content'] }}{% endfor %}"}});
  }
}

TEST_CASE("scaled rotary frequencies of a GGUF file are found again in config.json", "[checkpoint]") {
  auto const rope = checkpoint::open(golden + "gguf/llama.gguf").config.at("rope_parameters");
  CHECK(rope.at("rope_type") == "llama3");
  CHECK(rope.at("factor") == 8.0);
  CHECK(rope.at("low_freq_factor") == 1.0);
  CHECK(rope.at("high_freq_factor") == 4.0);
  CHECK(rope.at("original_max_position_embeddings") == 8192);
  CHECK(checkpoint::open(golden + "gguf/qwen2.gguf").config.at("rope_parameters").at("rope_type") == "default");
  json const wanted = read_json_file(golden + "gguf/gemma3.json").at("config").at("rope_parameters");
  auto const both = checkpoint::open(golden + "gguf/gemma3.gguf").config.at("rope_parameters");
  for (auto const* kind : {"full_attention", "sliding_attention"})
    CHECK(nlohmann::json(both.at(kind)) == nlohmann::json(wanted.at(kind)));
}

TEST_CASE("a SentencePiece model that llama.cpp's converter read encodes as SentencePiece does", "[checkpoint]") {
  auto const words = tokenizer::from_json(checkpoint::open(golden + "gguf/families/llama2.gguf").tokenizer);
  for (auto const& line : read_json_file(golden + "gguf/families/texts.json")) {
    std::string const text = line.at("text");
    INFO(text);
    CHECK(words.encode(text, false) == line.at("ids").get<std::vector<std::int32_t>>());
  }
}

TEST_CASE("a GGUF vocabulary gives the ids and special tokens of transformers", "[checkpoint]") {
  for (std::string const family : {"llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"}) {
    INFO(family);
    auto const model = checkpoint::open(golden + "gguf/" + family + ".gguf");
    json const wanted = read_json_file(golden + "gguf/" + family + ".json");
    for (auto const& [name, token] : wanted.at("special_tokens").items())
      CHECK(special_tokens(model.tokenizer_config).at(name) == token);
    auto const words = tokenizer::from_json(model.tokenizer);
    for (auto const& line : wanted.at("texts")) {
      std::string const text = line.at("text");
      INFO(text);
      CHECK(words.encode(text, true) == line.at("ids").get<std::vector<std::int32_t>>());
      CHECK(words.encode(text, false) == line.at("plain").get<std::vector<std::int32_t>>());
    }
  }
}

TEST_CASE("a folder with one file and one with shards are read alike", "[checkpoint]") {
  auto const tied = checkpoint::open(golden + "tiny/tied");
  CHECK(tied.config.at("model_type") == "llama");
  CHECK(tied.tokenizer.is_object());
  CHECK_FALSE(tied.chat_templates.empty());
  auto const untied = checkpoint::open(golden + "tiny/untied");
  CHECK(untied.contains("lm_head.weight"));
  CHECK(untied.entry("lm_head.weight").stored_type == "BF16");
  CHECK_FALSE(untied.chat_templates.empty());
  CHECK_FALSE(tied.contains("lm_head.weight"));
  CHECK_THROWS_WITH(tied.entry("lm_head.weight"), contains("tied' has no tensor 'lm_head.weight'"));
}

TEST_CASE("tensors are converted on reading and seen without a copy where they are stored so", "[checkpoint]") {
  scratch_folder const folder;
  write_model(folder.path());
  auto model = checkpoint::open(folder.path());
  CHECK(model.entry("narrow").shape == std::vector<std::int64_t>{1, 2});
  CHECK(read(model, "wide", dtype::bf16) == read(model, "narrow", dtype::bf16));
  CHECK(read(model, "wide", dtype::f32) == read(model, "narrow", dtype::f32));
  CHECK(read(model, "wide", dtype::f64) == read(model, "narrow", dtype::f64));
  CHECK(read(model, "wide", dtype::f16).size() == 4);
  auto const seen = model.view("wide", dtype::f32);
  REQUIRE(seen.has_value());
  CHECK(std::memcmp(seen->data(), "\0\0\x80\x3f", 4) == 0);
  CHECK_FALSE(model.view("wide", dtype::bf16).has_value());
  checkpoint const moved = std::move(model);
  CHECK(std::memcmp(moved.view("wide", dtype::f32)->data(), "\0\0\x80\x3f", 4) == 0);

  std::vector<std::byte> small(4);
  CHECK_THROWS_WITH(moved.read("wide", dtype::f32, small), contains("'wide' has 2 elements, but the buffer holds 4 bytes"));
  CHECK_THROWS_WITH(moved.read("wide", dtype::i32, small), contains("cannot be read as I32"));
  CHECK_THROWS_WITH(moved.view("thin", dtype::f32), contains("no tensor 'thin'"));
}

TEST_CASE("integers and unknown storage types are listed but not read as weights", "[checkpoint]") {
  scratch_folder const folder;
  write_file(folder / "config.json", "{}");
  std::string const header =
      R"({"i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"q":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[8,16]}})";
  write_file(folder / "model.safetensors", gguf_builder::number<std::uint64_t>(header.size()) + header + std::string(16, 'x'));
  auto const model = checkpoint::open(folder.path());
  CHECK(model.entry("q").stored_type == "F8_E4M3");
  std::vector<std::byte> out(32);
  CHECK_THROWS_WITH(model.read("q", dtype::f32, out), contains("tensor 'q' is stored as F8_E4M3"));
  CHECK_THROWS_WITH(model.read("i", dtype::f32, std::span{out}.first(4)), contains("tensor 'i' is stored as I64"));
  CHECK_FALSE(model.view("q", dtype::f32).has_value());
}

TEST_CASE("special tokens are texts whatever their spelling and wherever they stand", "[checkpoint]") {
  scratch_folder const folder;
  write_model(folder.path());
  write_file(folder / "tokenizer_config.json",
             R"({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "pad_token": null,
    "chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]})");
  write_file(folder / "special_tokens_map.json", R"({"eos_token": "<end>", "unk_token": "<unk>"})");
  auto const default_template = [](checkpoint const& model) {
    for (auto const& [name, source] : model.chat_templates)
      if (name == "default") return source;
    return std::string("none");
  };
  auto const model = checkpoint::open(folder.path());
  CHECK(special_tokens(model.tokenizer_config).dump() == R"({"bos_token":"<s>","eos_token":"<end>","unk_token":"<unk>"})");
  CHECK(default_template(model) == "yes");
  CHECK(model.tokenizer.is_null());
  CHECK(model.generation_config.is_null());
  write_file(folder / "chat_template.jinja", "first");
  CHECK(default_template(checkpoint::open(folder.path())) == "first");
}

TEST_CASE("a folder that is not a whole model is refused in one line", "[checkpoint]") {
  scratch_folder const folder;
  auto const refuses = [&](std::string const& why) { CHECK_THROWS_WITH(checkpoint::open(folder.path()), contains(why)); };
  CHECK_THROWS_WITH(checkpoint::open(folder / "absent"), contains("no model at"));
  refuses("no config.json in");
  write_file(folder / "config.json", "[]");
  refuses("config.json' is not a JSON object");
  write_file(folder / "config.json", "{\"a\": 1,}");
  refuses("config.json': not valid JSON at column 9");
  write_file(folder / "config.json", "{}");
  refuses("no weights in");
  write_file(folder / "pytorch_model.bin", "x");
  refuses("pickled weights");

  auto const index = [&](std::string const& map) {
    write_file(folder / "model.safetensors.index.json", "{\"weight_map\": " + map + "}");
  };
  index(R"({"a": "../secret.safetensors"})");
  refuses("'../secret.safetensors' is not a file name within the folder");
  index(R"({"a": "/etc/passwd"})");
  refuses("not a file name within the folder");
  index(R"({"a": ".."})");
  refuses("not a file name within the folder");
  index(R"({"a": 1})");
  refuses("no file is named for tensor 'a'");
  index("[]");
  refuses("has no weight_map");
  index(R"({"a": "one.safetensors"})");
  refuses("one.safetensors' is missing; the download is incomplete");
  std::string const two(2, 'x');
  write_safetensors(folder / "one.safetensors", {{"b", dtype::bf16, {1}, view(two)}}, {});
  refuses("lacks tensor 'a', which the index places there");
  index(R"({"a": "one.safetensors", "b": "one.safetensors"})");
  write_safetensors(folder / "one.safetensors", {{"a", dtype::bf16, {1}, view(two)}, {"b", dtype::bf16, {1}, view(two)}}, {});
  CHECK(checkpoint::open(folder.path()).tensors().size() == 2);
  write_file(folder / "model.safetensors", "cut");
  refuses("damaged safetensors file: it is only 3 bytes long");
}

TEST_CASE("a GGUF file of something else than a model that kedge knows is refused", "[checkpoint]") {
  scratch_folder const folder;
  auto const refuses = [&](gguf_builder const& build, std::string const& why) {
    write_file(folder / "x.gguf", build.file());
    CHECK_THROWS_WITH(checkpoint::open(folder / "x.gguf"), contains(why));
  };
  auto const llama = [] {
    gguf_builder build;
    build.key("general.architecture", std::string{"llama"}).key("llama.embedding_length", 8U).key("llama.block_count", 1U);
    build.key("llama.feed_forward_length", 8U)
        .key("llama.context_length", 8U)
        .key("llama.attention.layer_norm_rms_epsilon", 1e-5F);
    return build;
  };
  std::string const eight(32, '\0');
  refuses(gguf_builder{}, "name no architecture");
  refuses(gguf_builder{}.key("general.architecture", std::string{"bert"}), "the architecture 'bert' is not supported");
  refuses(llama(), "lack 'llama.attention.head_count'");
  refuses(llama().key("llama.attention.head_count", 0U), "'llama.attention.head_count' is 0");
  refuses(llama().key("llama.attention.head_count", 2U), "no vocabulary size");
  auto const whole = [&] { return llama().key("llama.attention.head_count", 2U).key("llama.vocab_size", 4U); };
  refuses(whole().key("split.count", 3U), "one of 3 parts");
  refuses(whole().tensor("rope_freqs.weight", {4}, 0, gguf_builder::number(2.0F) + std::string(12, '\0')),
          "(tensor 'rope_freqs.weight') is not positive");
  refuses(whole().tensor("rope_factors_long.weight", {8}, 0, eight), "'rope_factors_long.weight' is not known");
  refuses(whole().tensor("rope_freqs.weight", {256}, 15, eight + eight + eight), "stored as Q8_K, which is not supported");
  refuses(whole().tensor("blk.0.attn_q.weight", {2, 3}, 0, eight), "does not divide into 2 heads");
  refuses(whole().tensor("blk.0.new_thing.weight", {8}, 0, eight), "'blk.0.new_thing.weight' is not known");
  refuses(whole().tensor("blk.x.attn_q.weight", {8}, 0, eight), "is not known");
  refuses(whole().tensor("attn_q.weight", {8}, 0, eight), "is not known");
  refuses(whole().key("tokenizer.ggml.model", std::string{"bert"}).key("tokenizer.ggml.tokens", std::vector<std::string>{"a"}),
          "vocabularies of the kind 'bert'");
  auto const words = [&](std::vector<std::string> const& merges) {
    return whole()
        .key("tokenizer.ggml.model", std::string{"gpt2"})
        .key("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "ab"})
        .key("tokenizer.ggml.merges", merges);
  };
  refuses(words({"a c"}), "uses tokens that the vocabulary lacks");
  refuses(words({"ab"}), "is not two tokens");
  refuses(words({"a b"}).key("tokenizer.ggml.bos_token_id", 3U), "names token 3, beyond the vocabulary");
  write_file(folder / "x.gguf", words({"a b"}).file());
  CHECK(checkpoint::open(folder / "x.gguf").tokenizer.at("model").at("merges").size() == 1);
  write_file(folder / "x.gguf", words({"a b"}).key("tokenizer.ggml.pre", std::string{"smollm"}).key("tokenizer.ggml.eot_token_id", 107U).file());
  auto const cut = checkpoint::open(folder / "x.gguf").notes;
  REQUIRE(cut.size() == 1);
  CHECK_THAT(cut.front(), contains("names token 107, beyond the vocabulary; no text ends there"));
}

TEST_CASE("a GGUF vocabulary of Llama 3 takes a word that is a token whole and others merge it", "[checkpoint]") {
  scratch_folder const folder;
  auto const ids = [&](std::string const& pre) {
    gguf_builder build;
    build.key("general.architecture", std::string{"llama"}).key("llama.embedding_length", 8U).key("llama.block_count", 1U);
    build.key("llama.feed_forward_length", 8U).key("llama.context_length", 8U).key("llama.attention.layer_norm_rms_epsilon", 1e-5F);
    build.key("llama.attention.head_count", 2U).key("llama.vocab_size", 4U).key("tokenizer.ggml.model", std::string{"gpt2"});
    build.key("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "ab", "abb"}).key("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
    write_file(folder / "x.gguf", build.key("tokenizer.ggml.pre", pre).file());
    return tokenizer::from_json(checkpoint::open(folder / "x.gguf").tokenizer).encode("abb", false);
  };
  CHECK(ids("llama-bpe") == std::vector<std::int32_t>{3});
  CHECK(ids("smollm") == std::vector<std::int32_t>{2, 1});
}

TEST_CASE("the real model opens with its tokenizer and template", "[checkpoint][model]") {
  auto const* const path = std::getenv("KEDGE_TEST_MODEL");
  REQUIRE(path != nullptr);
  auto const model = checkpoint::open(path);
  CHECK(model.tensors().size() == 272);
  CHECK(model.entry("model.layers.29.mlp.down_proj.weight").shape == std::vector<std::int64_t>{576, 1536});
  CHECK(model.entry("model.embed_tokens.weight").stored_type == "Q8_0");
  CHECK(model.config.at("tie_word_embeddings") == true);
  CHECK(model.tokenizer.at("model").at("vocab").size() == 49152);
  CHECK(special_tokens(model.tokenizer_config).at("eos_token") == "<|im_end|>");
  CHECK(model.chat_templates.at(0).second.find("<|im_start|>assistant") != std::string::npos);
  // Hashes of what transformers 5.23 loads in float32.
  CHECK(hash_of(read(model, "model.layers.0.self_attn.q_proj.weight", dtype::f32)) == "02d311b9e9fef434");
  CHECK(hash_of(read(model, "model.layers.17.mlp.up_proj.weight", dtype::f32)) == "82ee650957e8ea08");
}
