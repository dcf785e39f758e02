// SPDX-License-Identifier: Apache-2.0
#include "tokenizer_pipeline.hpp"

#include <span>         // span
#include <string>       // string
#include <string_view>  // string_view
#include <utility>      // move

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

constexpr std::string_view mark = "\xe2\x96\x81";  // U+2581, a space in SentencePiece's vocabularies
constexpr std::string_view qwen2_words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view qwen3_5_words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct default_token {
  char const* key;
  char const* token;  // null: an argument that is there, and none
};

// Arguments of the classes' constructors in transformers 5.23.
constexpr default_token llama_tokens[]{{"unk_token", "<unk>"}, {"bos_token", "<s>"}, {"eos_token", "</s>"}};
constexpr default_token code_llama_tokens[]{{"unk_token", "<unk>"},
                                            {"bos_token", "<s>"},
                                            {"eos_token", "</s>"},
                                            {"prefix_token", "\xe2\x96\x81<PRE>"},
                                            {"middle_token", "\xe2\x96\x81<MID>"},
                                            {"suffix_token", "\xe2\x96\x81<SUF>"},
                                            {"eot_token", "\xe2\x96\x81<EOT>"},
                                            {"fill_token", "<FILL_ME>"}};
constexpr default_token gemma_tokens[]{
    {"unk_token", "<unk>"}, {"bos_token", "<bos>"}, {"eos_token", "<eos>"}, {"pad_token", "<pad>"}, {"mask_token", "<mask>"}};
constexpr default_token gpt2_tokens[]{
    {"unk_token", "<|endoftext|>"}, {"bos_token", "<|endoftext|>"}, {"eos_token", "<|endoftext|>"}, {"pad_token", nullptr}};
constexpr default_token gpt_neox_tokens[]{
    {"unk_token", "<|endoftext|>"}, {"bos_token", "<|endoftext|>"}, {"eos_token", "<|endoftext|>"}, {"pad_token", "<|padding|>"}};
constexpr default_token qwen_tokens[]{
    {"unk_token", "<|endoftext|>"}, {"bos_token", nullptr}, {"eos_token", "<|endoftext|>"}, {"pad_token", "<|endoftext|>"}};
constexpr default_token cohere_tokens[]{{"unk_token", "<UNK>"}, {"bos_token", "<BOS_TOKEN>"}, {"eos_token", "<|END_OF_TURN_TOKEN|>"},
                                        {"pad_token", "<PAD>"}, {"cls_token", "<CLS>"},       {"sep_token", "<SEP>"},
                                        {"mask_token", "<MASK_TOKEN>"}};

std::span<default_token const> default_tokens(tokenizer_class kind) {
  switch (kind) {
    case tokenizer_class::backend: break;
    case tokenizer_class::llama: return llama_tokens;
    case tokenizer_class::code_llama: return code_llama_tokens;
    case tokenizer_class::gemma: return gemma_tokens;
    case tokenizer_class::gpt2:
    case tokenizer_class::codegen: return gpt2_tokens;
    case tokenizer_class::gpt_neox: return gpt_neox_tokens;
    case tokenizer_class::qwen2:
    case tokenizer_class::qwen3_5: return qwen_tokens;
    case tokenizer_class::cohere: return cohere_tokens;
  }
  return {};
}

bool flag(json const& config, char const* key, bool absent, bool null) {
  auto const found = config.find(key);
  if (found == config.end()) return absent;
  if (found->is_null()) return null;
  if (!found->is_boolean()) throw error(std::string("tokenizer_config.json: ") + key + " is not true or false");
  return found->get<bool>();
}

json bytes(bool prefix_space, bool splits) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"trim_offsets", true}, {"use_regex", splits}};
}

json words_then_bytes(std::string_view expression, bool prefix_space) {
  json const split{{"type", "Split"}, {"pattern", {{"Regex", expression}}}, {"behavior", "Isolated"}, {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", {split, bytes(prefix_space, false)}}};
}

json digits_then_bytes(bool prefix_space) {
  return {{"type", "Sequence"}, {"pretokenizers", {json{{"type", "Digits"}, {"individual_digits", true}}, bytes(prefix_space, true)}}};
}

json replace(std::string_view from, std::string_view to, char const* type = "Replace") {
  return {{"type", type}, {"pattern", {{"String", from}}}, {"content", to}};
}

/// The decoder of SentencePiece's vocabularies with bytes.
json text_of_pieces(bool strips) {
  json steps{replace(mark, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
  if (strips) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", steps}};
}

json space_marks(char const* prepend) {
  return {{"type", "Metaspace"}, {"replacement", mark}, {"prepend_scheme", prepend}, {"split", false}};
}

void put_pieces(tokenizer_class kind, json const& config, json& out) {
  bool const space = flag(config, "add_prefix_space", true, true);
  bool const first = kind == tokenizer_class::code_llama || !flag(config, "legacy", false, false);
  out["normalizer"] = nullptr;
  out["pre_tokenizer"] = space_marks(!space ? "never" : first ? "first" : "always");
  out["decoder"] = text_of_pieces(space || kind == tokenizer_class::code_llama);
}

void put_bytes(tokenizer_class kind, json const& config, json& out) {
  bool const space = flag(config, "add_prefix_space", false, false);
  json const composed{{"type", "NFC"}};
  bool const composes = kind != tokenizer_class::gpt2 && kind != tokenizer_class::codegen;
  out["normalizer"] = composes ? composed : json(nullptr);
  switch (kind) {
    case tokenizer_class::qwen2: out["pre_tokenizer"] = words_then_bytes(qwen2_words, space); break;
    case tokenizer_class::qwen3_5: out["pre_tokenizer"] = words_then_bytes(qwen3_5_words, space); break;
    case tokenizer_class::cohere: out["pre_tokenizer"] = digits_then_bytes(space); break;
    default: out["pre_tokenizer"] = bytes(space, true);
  }
  out["decoder"] = bytes(true, true);
}

/// The text of a token, written as a text or as an object; null for none.
json content_of(json const& config, char const* key) {
  auto const found = config.find(key);
  if (found == config.end()) return nullptr;
  return found->is_object() ? found->value("content", json(nullptr)) : *found;
}

}  // namespace

void put_class_defaults(tokenizer_class kind, json& tokenizer_config) {
  for (default_token const& row : default_tokens(kind))
    if (!tokenizer_config.contains(row.key)) tokenizer_config[row.key] = row.token == nullptr ? json(nullptr) : json(row.token);
  if (kind == tokenizer_class::code_llama && !tokenizer_config.contains("add_bos_token")) tokenizer_config["add_bos_token"] = true;
}

json pipeline_of(tokenizer_class kind, json const& tokenizer_config, json vocab, json merges) {
  bool const sentencepiece = kind == tokenizer_class::llama || kind == tokenizer_class::code_llama || kind == tokenizer_class::gemma;
  json out{{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}, {"added_tokens", json::array()}};
  if (kind == tokenizer_class::gemma) {
    out["normalizer"] = replace(" ", mark);
    out["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"String", " "}}}, {"behavior", "MergedWithPrevious"}, {"invert", false}};
    out["decoder"] = text_of_pieces(false);
  } else if (sentencepiece) {
    put_pieces(kind, tokenizer_config, out);
  } else {
    put_bytes(kind, tokenizer_config, out);
  }
  json const affix = sentencepiece ? json(nullptr) : json("");
  bool const names_unknown = kind == tokenizer_class::gemma || kind == tokenizer_class::code_llama;
  json model{{"type", "BPE"}, {"dropout", nullptr}};
  model["unk_token"] = names_unknown ? content_of(tokenizer_config, "unk_token") : json(nullptr);
  model["continuing_subword_prefix"] = affix;
  model["end_of_word_suffix"] = affix;
  model["fuse_unk"] = sentencepiece;
  model["byte_fallback"] = sentencepiece;
  model["ignore_merges"] = false;
  model["vocab"] = std::move(vocab);
  model["merges"] = std::move(merges);
  out["post_processor"] = nullptr;
  out["model"] = std::move(model);
  return out;
}

}  // namespace kedge::llm
