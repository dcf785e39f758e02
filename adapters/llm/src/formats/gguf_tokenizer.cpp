// SPDX-License-Identifier: Apache-2.0
//
// A GGUF file carries a vocabulary but no tokenizer.json; what surrounds the vocabulary (how text is split before merging,
// how spaces are spelled) follows from the vocabulary's kind, as in transformers, whose ids are the standard here.
#include <algorithm>      // all_of, any_of, sort
#include <array>          // array
#include <functional>     // equal_to
#include <map>            // map
#include <string_view>    // string_view
#include <tuple>          // tuple
#include <unordered_map>  // unordered_map
#include <vector>         // vector

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>

#include "gguf_to_hf.hpp"
#include "../base/name_hash.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

constexpr std::int64_t control_token = 3;  // GGUF's token types
constexpr std::int64_t user_defined_token = 4;
constexpr std::string_view space_mark = "\xe2\x96\x81";  // U+2581, a space in SentencePiece

struct vocabulary {
  std::vector<std::string> tokens;                                                // by id
  std::unordered_map<std::string, std::int64_t, name_hash, std::equal_to<>> ids;  // a repeated token keeps its last id
  std::vector<std::int64_t> types;                                                // by id, or empty
  bool byte_level = false;
};

[[noreturn]] void fail(gguf_file const& file, std::string const& why) {
  throw error(in_quotes(file.path().string()) + ": " + why);
}

/// Code points of valid UTF-8.
std::vector<char32_t> code_points(std::string_view text) {
  std::vector<char32_t> out;
  for (std::size_t i = 0; i < text.size();) {
    auto const lead = static_cast<unsigned char>(text[i]);
    std::size_t const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    char32_t point = length == 1 ? lead : lead & (0x7fU >> length);
    for (std::size_t k = 1; k < length; ++k) point = point << 6U | (static_cast<unsigned char>(text[i + k]) & 0x3fU);
    out.push_back(point);
    i += length;
  }
  return out;
}

/// GPT-2's spelling of bytes: printable Latin-1 stands for itself, the 68 other bytes for U+0100 upwards, in order.
bool is_plain_byte(char32_t c) { return (c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255); }

bool is_byte_spelling(std::string_view token) {
  auto const points = code_points(token);
  return std::all_of(points.begin(), points.end(), [](char32_t c) { return is_plain_byte(c) || (c >= 256 && c < 256 + 68); });
}

std::string spell_bytes(std::string_view token) {
  static std::array<std::string, 256> const spelling = [] {
    std::array<std::string, 256> out;
    unsigned next = 256;
    for (unsigned byte = 0; byte < 256; ++byte) {
      unsigned const point = is_plain_byte(byte) ? byte : next++;
      out[byte] = point < 0x80
                      ? std::string{static_cast<char>(point)}
                      : std::string{static_cast<char>(0xc0U | point >> 6U), static_cast<char>(0x80U | (point & 0x3fU))};
    }
    return out;
  }();
  std::string out;
  for (char const c : token) out += spelling[static_cast<unsigned char>(c)];
  return out;
}

/// Gemma's runs of spaces are stored as spaces but looked up as U+2581.
std::string spell_space_run(std::string_view token) {
  if (token.empty() || token.find_first_not_of(' ') != std::string_view::npos) return std::string{token};
  std::string out;
  for (std::size_t i = 0; i < token.size(); ++i) out += space_mark;
  return out;
}

vocabulary read_vocabulary(gguf_file const& file, bool byte_level, bool gemma) {
  vocabulary out;
  out.byte_level = byte_level;
  auto const* tokens = file.array("tokenizer.ggml.tokens");
  if (tokens == nullptr || tokens->strings.size() != tokens->size) fail(file, "the GGUF vocabulary is not a list of texts");
  if (auto const* types = file.array("tokenizer.ggml.token_type")) {
    out.types = types->integers();
    if (out.types.size() != tokens->size) fail(file, "the GGUF vocabulary has another number of token types than of tokens");
  }
  out.tokens.reserve(tokens->size);
  for (auto const token : tokens->strings) {
    if (byte_level && !is_byte_spelling(token))
      out.tokens.push_back(spell_bytes(token));
    else
      out.tokens.push_back(gemma ? spell_space_run(token) : std::string{token});
    out.ids[out.tokens.back()] = static_cast<std::int64_t>(out.tokens.size()) - 1;
  }
  return out;
}

using merge_list = std::vector<std::pair<std::string, std::string>>;

merge_list stored_merges(gguf_file const& file, gguf_array const& merges, vocabulary const& words) {
  merge_list out;
  out.reserve(merges.strings.size());
  for (auto const merge : merges.strings) {
    auto const space = merge.find(' ');
    if (space == std::string_view::npos || merge.find(' ', space + 1) != std::string_view::npos)
      fail(file, "the merge " + in_quotes(merge) + " is not two tokens with a space between; fetch another file");
    out.emplace_back(merge.substr(0, space), merge.substr(space + 1));
    auto const& [left, right] = out.back();
    if (!words.ids.contains(left) || !words.ids.contains(right) || !words.ids.contains(left + right))
      fail(file, "the merge " + in_quotes(merge) + " uses tokens that the vocabulary lacks; fetch another file");
  }
  return out;
}

/// Merges that a SentencePiece vocabulary implies: every split of a token into two tokens, best score first.
merge_list implied_merges(gguf_file const& file, vocabulary const& words, std::vector<double> const& scores) {
  constexpr std::size_t longest = 1024;  // bytes; the search is quadratic in a token's length
  struct candidate {
    double score;
    std::size_t left_length, right_length;  // in code points
    std::int64_t left, right;               // ids
    std::size_t token;
  };
  std::vector<candidate> found;
  for (std::size_t id = 0; id < words.tokens.size(); ++id) {
    std::string const& token = words.tokens[id];
    if (words.ids.at(token) != static_cast<std::int64_t>(id)) continue;  // repeated: the last one counts
    if (token.size() > longest) fail(file, "token " + std::to_string(id) + " of the GGUF vocabulary is longer than 1024 bytes");
    std::size_t const length = code_points(token).size();
    std::size_t seen = 0;
    for (std::size_t cut = 1; cut < token.size(); ++cut) {
      if ((static_cast<unsigned char>(token[cut]) & 0xc0U) == 0x80U) continue;
      ++seen;
      auto const left = words.ids.find(std::string_view{token}.substr(0, cut));
      if (left == words.ids.end()) continue;
      auto const right = words.ids.find(std::string_view{token}.substr(cut));
      if (right != words.ids.end()) found.push_back({scores[id], seen, length - seen, left->second, right->second, id});
    }
  }
  std::sort(found.begin(), found.end(), [](auto const& a, auto const& b) {
    auto const rank = [](candidate const& c) { return std::tuple{c.score, c.left_length, c.right_length}; };
    if (rank(a) != rank(b)) return rank(a) > rank(b);
    return std::tuple{a.token, a.left, a.right} < std::tuple{b.token, b.left, b.right};
  });
  merge_list out;
  out.reserve(found.size());
  for (auto const& c : found)
    out.emplace_back(words.tokens[static_cast<std::size_t>(c.left)], words.tokens[static_cast<std::size_t>(c.right)]);
  return out;
}

merge_list merges_of(gguf_file const& file, vocabulary const& words, bool gemma) {
  if (auto const* merges = file.array("tokenizer.ggml.merges")) return stored_merges(file, *merges, words);
  std::vector<double> scores;
  if (gemma) {  // the order of Gemma's merges is that of its tokens, not of their scores
    for (std::size_t id = 0; id < words.tokens.size(); ++id) scores.push_back(-static_cast<double>(id));
  } else if (auto const* stored = file.array("tokenizer.ggml.scores")) {
    scores = stored->reals();
  }
  if (scores.size() != words.tokens.size() || std::any_of(scores.begin(), scores.end(), [](double s) { return s != s; }))
    fail(file, "the GGUF vocabulary has neither merges nor a score for every token; fetch another file");
  return implied_merges(file, words, scores);
}

constexpr char const* llama3_split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char const* qwen2_split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char const* tekken_split = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
                                     R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
                                     R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char const* gpt4o_split =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// The split that goes with a name of tokenizer.ggml.pre; null: GPT-2's.
char const* split_of(std::string_view pre) {
  static constexpr std::array<std::pair<std::string_view, char const*>, 22> known{{
      {"llama3", llama3_split},    {"llama-v3", llama3_split},        {"llama-bpe", llama3_split},    {"falcon3", llama3_split},
      {"falcon-h1", llama3_split}, {"pixtral", llama3_split},         {"midm-2.0", llama3_split},     {"lfm2", llama3_split},
      {"dbrx", llama3_split},      {"smaug-bpe", llama3_split},       {"jina-v5-nano", llama3_split}, {"tekken", tekken_split},
      {"qwen2", qwen2_split},      {"deepseek-r1-qwen", qwen2_split}, {"kormo", qwen2_split},         {"f2llmv2", qwen2_split},
      {"megrez", qwen2_split},     {"gpt-4o", gpt4o_split},           {"llama4", gpt4o_split},        {"kanana2", gpt4o_split},
      {"talkie", gpt4o_split},     {"minimax-m2", gpt4o_split},
  }};
  for (auto const& [name, split] : known)
    if (name == pre) return split;
  return nullptr;
}

/// Whether a word that is a token is taken whole, though no merges lead to it: Llama 3's tokenizer and those made after it.
bool ignores_merges(std::string_view pre) {
  static constexpr std::array<std::string_view, 10> names{"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1",
                                                          "pixtral", "midm-2.0", "lfm2", "jina-v5-nano", "tekken"};
  return std::find(names.begin(), names.end(), pre) != names.end();
}

json byte_level(bool prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

json byte_level_pre_tokenizer(gguf_file const& file) {
  char const* const split = split_of(file.string("tokenizer.ggml.pre").value_or(""));
  if (split == nullptr) return byte_level(false, true);
  json const pieces = {{"type", "Split"}, {"pattern", {{"Regex", split}}}, {"behavior", "Isolated"}, {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", json::array({pieces, byte_level(false, false)})}};
}

json replace(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", std::string{from}}}}, {"content", std::string{to}}};
}

json space_decoder(bool strip) {
  json steps = json::array({replace(space_mark, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  if (strip) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", std::move(steps)}};
}

/// normalizer, pre_tokenizer and decoder.
void put_surroundings(gguf_file const& file, std::string_view architecture, bool byte_level_words, json& out) {
  std::string const mark{space_mark};
  if (byte_level_words) {
    // Qwen's own tokenizer composes characters first; so does transformers for a folder, though not for a GGUF file.
    bool const qwen = split_of(file.string("tokenizer.ggml.pre").value_or("")) == qwen2_split;
    out["normalizer"] = qwen ? json{{"type", "NFC"}} : json(nullptr);
    out["pre_tokenizer"] = byte_level_pre_tokenizer(file);
    out["decoder"] = byte_level(true, true);
  } else if (architecture.starts_with("gemma")) {
    out["normalizer"] = replace(" ", mark);
    out["pre_tokenizer"] = {
        {"type", "Split"}, {"pattern", {{"String", " "}}}, {"behavior", "MergedWithPrevious"}, {"invert", false}};
    out["decoder"] = space_decoder(false);
  } else if (architecture == "phi3") {
    out["normalizer"] = {{"type", "Sequence"},
                         {"normalizers", json::array({{{"type", "Prepend"}, {"prepend", mark}}, replace(" ", mark)})}};
    out["pre_tokenizer"] = nullptr;
    out["decoder"] = space_decoder(true);
  } else {
    out["normalizer"] = nullptr;
    out["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", mark}, {"prepend_scheme", "first"}, {"split", false}};
    out["decoder"] = space_decoder(true);
  }
}

using special_ids = std::vector<std::pair<std::string, std::int64_t>>;  // bos_token → 1, …

special_ids read_special_ids(gguf_file const& file, vocabulary const& words) {
  static constexpr std::array<std::pair<char const*, char const*>, 4> keys{{{"bos_token", "tokenizer.ggml.bos_token_id"},
                                                                            {"eos_token", "tokenizer.ggml.eos_token_id"},
                                                                            {"pad_token", "tokenizer.ggml.padding_token_id"},
                                                                            {"unk_token", "tokenizer.ggml.unknown_token_id"}}};
  special_ids out;
  for (auto const& [name, key] : keys) {
    auto const id = file.integer(key);
    if (!id) continue;
    if (*id < 0 || static_cast<std::size_t>(*id) >= words.tokens.size())
      fail(file, std::string{"the metadata key '"} + key + "' names token " + std::to_string(*id) + ", beyond the vocabulary");
    out.emplace_back(name, *id);
  }
  return out;
}

json added_tokens(vocabulary const& words, special_ids const& named) {
  std::map<std::int64_t, bool> special;  // by id; the vocabulary's own mark comes first and counts
  for (std::size_t id = 0; id < words.types.size(); ++id) {
    bool const spelled = !words.byte_level || is_byte_spelling(words.tokens[id]);
    if (words.types[id] == control_token && spelled) special.try_emplace(words.ids.at(words.tokens[id]), true);
    if (words.types[id] == user_defined_token) special.try_emplace(words.ids.at(words.tokens[id]), false);
  }
  for (auto const& [name, id] : named) special.try_emplace(words.ids.at(words.tokens[static_cast<std::size_t>(id)]), true);
  json out = json::array();
  for (auto const& [id, is_special] : special)
    out.push_back({{"id", id},
                   {"content", words.tokens[static_cast<std::size_t>(id)]},
                   {"single_word", false},
                   {"lstrip", false},
                   {"rstrip", false},
                   {"normalized", false},
                   {"special", is_special}});
  return out;
}

/// Adds the tokens that begin or end every text, where the metadata ask for them.
json post_processor(gguf_file const& file, bool sentencepiece, json const& config) {
  bool const first = file.boolean("tokenizer.ggml.add_bos_token").value_or(sentencepiece) && config.contains("bos_token");
  bool const last = file.boolean("tokenizer.ggml.add_eos_token").value_or(false) && config.contains("eos_token");
  json special = json::object();
  auto const piece = [&](char const* name, int sequence) -> json {
    std::string const token = config.at(name);
    auto const id =
        *file.integer(std::string_view{name} == "bos_token" ? "tokenizer.ggml.bos_token_id" : "tokenizer.ggml.eos_token_id");
    special[token] = {{"id", token}, {"ids", {id}}, {"tokens", {token}}};
    return {{"SpecialToken", {{"id", token}, {"type_id", sequence}}}};
  };
  auto const sequence = [&](json& out, char const* name, int type) {
    if (first) out.push_back(piece("bos_token", type));
    out.push_back({{"Sequence", {{"id", name}, {"type_id", type}}}});
    if (last) out.push_back(piece("eos_token", type));
  };
  json single = json::array();
  json pair = json::array();
  sequence(single, "A", 0);
  sequence(pair, "A", 0);
  sequence(pair, "B", 1);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

json bpe_model(vocabulary const& words, merge_list merges, bool gemma, bool ignore_merges, json const& config) {
  json vocab = json::object();
  for (std::size_t id = 0; id < words.tokens.size(); ++id)
    if (words.ids.at(words.tokens[id]) == static_cast<std::int64_t>(id)) append_member(vocab, words.tokens[id], id);
  json pairs = json::array();
  for (auto& [left, right] : merges) {
    json pair = json::array();
    pair.push_back(std::move(left));
    pair.push_back(std::move(right));
    pairs.push_back(std::move(pair));
  }
  json const affix = words.byte_level ? json("") : json(nullptr);
  json out = {{"type", "BPE"}, {"dropout", nullptr}};
  out["unk_token"] = gemma && config.contains("unk_token") ? config.at("unk_token") : json(nullptr);
  out["continuing_subword_prefix"] = affix;
  out["end_of_word_suffix"] = affix;
  out["fuse_unk"] = !words.byte_level;
  out["byte_fallback"] = !words.byte_level;
  out["ignore_merges"] = ignore_merges;
  out["vocab"] = std::move(vocab);
  out["merges"] = std::move(pairs);
  return out;
}

}  // namespace

gguf_vocabulary vocabulary_from(gguf_file const& file) {
  gguf_vocabulary out;
  out.tokenizer_config = json::object();
  if (auto const source = file.string("tokenizer.chat_template")) out.chat_template = std::string{*source};
  auto const kind = file.string("tokenizer.ggml.model");
  if (!kind || file.find("tokenizer.ggml.tokens") == nullptr) return out;
  bool const byte_level_words = *kind == "gpt2";
  if (!byte_level_words && *kind != "llama")
    fail(file, "tokenizers of the kind " + in_quotes(*kind) +
                   " are not supported; kedge reads GGUF vocabularies of the kinds gpt2 and llama");

  std::string_view const architecture = file.string("general.architecture").value_or("");
  bool const gemma = !byte_level_words && architecture.starts_with("gemma");
  vocabulary const words = read_vocabulary(file, byte_level_words, gemma);
  special_ids const named = read_special_ids(file, words);
  json& config = out.tokenizer_config;
  for (auto const& [name, id] : named) config[name] = words.tokens[static_cast<std::size_t>(id)];
  config["clean_up_tokenization_spaces"] = false;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  if (!out.chat_template.empty()) config["chat_template"] = out.chat_template;

  json& tokenizer = out.tokenizer;
  tokenizer = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  tokenizer["added_tokens"] = added_tokens(words, named);
  put_surroundings(file, architecture, byte_level_words, tokenizer);
  tokenizer["post_processor"] = post_processor(file, !byte_level_words, config);
  bool const whole = byte_level_words && ignores_merges(file.string("tokenizer.ggml.pre").value_or(""));
  tokenizer["model"] = bpe_model(words, merges_of(file, words, gemma), gemma, whole, config);
  return out;
}

}  // namespace kedge::llm
