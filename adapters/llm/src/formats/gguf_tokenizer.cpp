// SPDX-License-Identifier: Apache-2.0
//
// A GGUF file carries a vocabulary but no tokenizer.json; what surrounds the vocabulary (how text is split before merging,
// how spaces are spelled) follows from the vocabulary's kind and from tokenizer.ggml.pre, as in llama.cpp.
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

#include "gguf_splits.hpp"
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

  [[nodiscard]] bool has(std::int64_t id) const { return id >= 0 && static_cast<std::size_t>(id) < tokens.size(); }
  /// Found in a text as it stands, before any merge.
  [[nodiscard]] bool is_added(std::size_t id) const {
    return id < types.size() && (types[id] == control_token || types[id] == user_defined_token);
  }
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
  if (tokens == nullptr || tokens->strings.size() != tokens->size) fail(file, "the GGUF vocabulary (tokenizer.ggml.tokens) is not a list of texts");
  if (auto const* types = file.array("tokenizer.ggml.token_type")) {
    out.types = types->integers();
    if (out.types.size() != tokens->size) fail(file, "the GGUF vocabulary has another number of token types than of tokens");
  }
  out.tokens.reserve(tokens->size);
  for (auto const token : tokens->strings) {
    if (byte_level && !out.is_added(out.tokens.size()) && !is_byte_spelling(token))
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

/// The split that tokenizer.ggml.pre names.
gguf_split const& split_of(gguf_file const& file, std::vector<std::string>& notes) {
  auto const name = file.string("tokenizer.ggml.pre").value_or("");
  auto const* const split = find_split(name);
  if (split == nullptr) fail(file, why_unknown_split(name));
  if (name.empty())
    notes.emplace_back("it does not say how text is split before the merges (tokenizer.ggml.pre); llama.cpp's default is taken, which may not be the model's");
  return *split;
}

json replace(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", std::string{from}}}}, {"content", std::string{to}}};
}

json space_decoder(bool strip) {
  json steps = json::array({replace(space_mark, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  if (strip) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", std::move(steps)}};
}

/// normalizer, pre_tokenizer and decoder of a byte-level vocabulary.
void put_surroundings(gguf_split const& split, json& out) {
  // Qwen's own tokenizer composes characters first; so does transformers for a folder, though not for a GGUF file.
  out["normalizer"] = split.composes ? json{{"type", "NFC"}} : json(nullptr);
  out["pre_tokenizer"] = pre_tokenizer_of(split);
  out["decoder"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
}

/// The same of a vocabulary of SentencePiece: a space goes before every text, and after a special token, unless the file says no.
void put_surroundings(gguf_file const& file, std::string_view architecture, json& out) {
  std::string const mark{space_mark};
  bool const prefix = file.boolean("tokenizer.ggml.add_space_prefix").value_or(!architecture.starts_with("gemma"));
  if (prefix) {
    out["normalizer"] = {{"type", "Sequence"},
                         {"normalizers", json::array({{{"type", "Prepend"}, {"prepend", mark}}, replace(" ", mark)})}};
  } else {
    out["normalizer"] = replace(" ", mark);
  }
  out["pre_tokenizer"] = nullptr;
  if (architecture.starts_with("gemma") && !prefix)
    out["pre_tokenizer"] = {
        {"type", "Split"}, {"pattern", {{"String", " "}}}, {"behavior", "MergedWithPrevious"}, {"invert", false}};
  out["decoder"] = space_decoder(prefix);
}

using special_ids = std::vector<std::pair<std::string, std::int64_t>>;  // bos_token → 1, …

/// A token that the metadata name by its number; throws for a number beyond the vocabulary.
std::optional<std::int64_t> token_at(gguf_file const& file, std::string const& key, vocabulary const& words) {
  auto const id = file.integer(key);
  if (id && !words.has(*id))
    fail(file, "the metadata key " + in_quotes(key) + " names token " + std::to_string(*id) + ", beyond the vocabulary");
  return id;
}

struct named_token {
  char const* name;           // in tokenizer_config.json
  char const* key;            // in GGUF
  std::int64_t sentencepiece;  // where a SentencePiece vocabulary doesn't say, as in llama.cpp; −1: none
};
constexpr std::array<named_token, 7> named_tokens{{{"bos_token", "tokenizer.ggml.bos_token_id", 1},
                                                   {"eos_token", "tokenizer.ggml.eos_token_id", 2},
                                                   {"pad_token", "tokenizer.ggml.padding_token_id", -1},
                                                   {"unk_token", "tokenizer.ggml.unknown_token_id", 0},
                                                   {"sep_token", "tokenizer.ggml.seperator_token_id", -1},
                                                   {"cls_token", "tokenizer.ggml.cls_token_id", -1},
                                                   {"mask_token", "tokenizer.ggml.mask_token_id", -1}}};

special_ids read_special_ids(gguf_file const& file, vocabulary const& words) {
  special_ids out;
  for (auto const& [name, key, fallback] : named_tokens) {
    auto id = token_at(file, key, words);
    if (!id && !words.byte_level && fallback >= 0 && fallback < static_cast<std::int64_t>(words.tokens.size())) id = fallback;
    if (id) out.emplace_back(name, *id);
  }
  return out;
}

std::optional<std::int64_t> id_of(special_ids const& named, std::string_view name) {
  auto const found = std::find_if(named.begin(), named.end(), [&](auto const& token) { return token.first == name; });
  return found == named.end() ? std::nullopt : std::optional{found->second};
}

/// generation_config.json: the tokens that end a text. Beside the one that ends every text those that end a turn, by their number or,
/// as llama.cpp does, by their spelling; null where there is no second one. Its converter states Gemma's ends even where the vocabulary was cut
/// before them: such a number is passed over, as llama.cpp does, and told.
json generation_config_of(gguf_file const& file, vocabulary const& words, special_ids const& named, std::vector<std::string>& notes) {
  struct turn_end {
    char const* key;
    std::vector<char const*> spellings;
  };
  static turn_end const ends[] = {{"tokenizer.ggml.eot_token_id", {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>"}},
                                  {"tokenizer.ggml.eom_token_id", {"<|eom_id|>"}}};
  std::vector<std::int64_t> ids;
  auto const add = [&](std::optional<std::int64_t> id) {
    if (id && std::find(ids.begin(), ids.end(), *id) == ids.end()) ids.push_back(*id);
  };
  add(id_of(named, "eos_token"));
  for (auto const& [key, spellings] : ends) {
    auto stated = file.integer(key);
    if (stated && !words.has(*stated)) {
      notes.push_back("its metadata key " + std::string(key) + " names token " + std::to_string(*stated) + ", beyond the vocabulary; no text ends there");
      stated.reset();
    }
    add(stated);
    for (std::string_view const spelling : spellings)
      if (auto const found = words.ids.find(spelling); !stated && found != words.ids.end()) add(found->second);
  }
  if (ids.size() < 2) return nullptr;
  return {{"eos_token_id", ids}};
}

json added_tokens(vocabulary const& words, special_ids const& named) {
  std::map<std::int64_t, bool> special;  // by id; the vocabulary's own mark comes first and counts
  for (std::size_t id = 0; id < words.types.size(); ++id) {
    if (words.is_added(id)) special.try_emplace(words.ids.at(words.tokens[id]), words.types[id] == control_token);
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

/// Whether a token begins or ends every text. `wish` is what goes without saying.
bool frames(gguf_file const& file, std::string const& key, char const* token, bool wish, special_ids const& named, std::vector<std::string>& notes) {
  bool const wanted = file.boolean(key).value_or(wish);
  if (wanted && !id_of(named, token)) notes.push_back("its texts are to be framed by a token (" + key + "), but it names no " + token + "; none is added");
  return wanted && id_of(named, token).has_value();
}

/// Adds the tokens that begin or end every text.
json post_processor(vocabulary const& words, special_ids const& named, bool first, bool last) {
  json special = json::object();
  auto const piece = [&](char const* name, int sequence) -> json {
    std::int64_t const id = *id_of(named, name);
    std::string const token = words.tokens[static_cast<std::size_t>(id)];
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
  auto const kind = file.string("tokenizer.ggml.model").value_or("none");
  if (kind == "none" || kind == "no_vocab") return out;
  bool const byte_level_words = kind == "gpt2";
  if (!byte_level_words && kind != "llama")
    fail(file, "vocabularies of the kind " + in_quotes(kind) + " (tokenizer.ggml.model) are not supported, only gpt2 and llama; use the model's Hugging Face folder");

  std::string_view const architecture = file.string("general.architecture").value_or("");
  bool const gemma = !byte_level_words && architecture.starts_with("gemma");
  gguf_split const* const split = byte_level_words ? &split_of(file, out.notes) : nullptr;
  vocabulary const words = read_vocabulary(file, byte_level_words, gemma);
  special_ids const named = read_special_ids(file, words);
  json& config = out.tokenizer_config;
  for (auto const& [name, id] : named) config[name] = words.tokens[static_cast<std::size_t>(id)];
  config["clean_up_tokenization_spaces"] = false;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  if (!out.chat_template.empty()) config["chat_template"] = out.chat_template;
  out.generation_config = generation_config_of(file, words, named, out.notes);

  json& tokenizer = out.tokenizer;
  tokenizer = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  tokenizer["added_tokens"] = added_tokens(words, named);
  if (split != nullptr)
    put_surroundings(*split, tokenizer);
  else
    put_surroundings(file, architecture, tokenizer);
  bool const begins = split == nullptr || split->adds_bos;
  bool const first = frames(file, "tokenizer.ggml.add_bos_token", "bos_token", begins, named, out.notes);
  bool const last = frames(file, "tokenizer.ggml.add_eos_token", "eos_token", false, named, out.notes);
  tokenizer["post_processor"] = post_processor(words, named, first, last);
  tokenizer["model"] = bpe_model(words, merges_of(file, words, gemma), gemma, split != nullptr && split->whole_words, config);
  return out;
}

}  // namespace kedge::llm
