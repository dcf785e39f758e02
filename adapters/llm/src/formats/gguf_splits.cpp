// SPDX-License-Identifier: Apache-2.0
#include "gguf_splits.hpp"

#include <algorithm>  // all_of, equal, find_if
#include <array>      // array
#include <vector>     // vector

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/nearest.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

constexpr char const* gpt2_words = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr char const* qwen2_words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char const* gpt4o_words =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char const* deepseek3_words = R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
                                        R"(| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char const* three_digits = R"(\p{N}{1,3})";
constexpr char const* threes_from_the_right = R"(\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N})))";
constexpr char const* deepseek_cjk = "[一-龥ࠀ-一가-퟿]+";
constexpr char const* chinese_and_kana = "[一-龥぀-ゟ゠-ヿ]+";
constexpr char const* bloom_words = R"( ?[^(\s|.,!?…。，、।۔،)]+)";

constexpr std::array gpt2{gpt2_words};
constexpr std::array digits_gpt2{R"(\p{N})", gpt2_words};
constexpr std::array llama3{
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::array qwen2{qwen2_words};
constexpr std::array qwen35{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N})"
                            R"(| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::array gpt4o{gpt4o_words};
constexpr std::array tekken{R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
                            R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
                            R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::array jais2{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)"
                           R"(|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S))"
                           R"(|\s{1,2}(?!\S)|\s{1})"};
constexpr std::array deepseek_llm{
    "[\r\n]",
    R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+)",
    R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)",
    R"(\s+$)",
    deepseek_cjk,
    R"(\p{N}+)"};
constexpr std::array deepseek_coder{"[\r\n]", R"(\s?\p{L}+)", R"(\s?\p{P}+)", deepseek_cjk, R"(\p{N})"};
constexpr std::array deepseek3{three_digits, chinese_and_kana, deepseek3_words};
constexpr std::array spark{three_digits, chinese_and_kana,
                           R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
                           R"(| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)",
                           R"(\p{N})"};
constexpr std::array youtu{
    "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::array falcon{R"([\p{P}\$\+<=>\^~\|`]+)", gpt2_words, "[0-9][0-9][0-9]"};
constexpr std::array unnamed{R"([\p{P}\$\+<=>\^~\|]+)", gpt2_words, R"(\p{N}+)", "[0-9][0-9][0-9]"};
constexpr std::array bloom{bloom_words};
constexpr std::array viking{bloom_words, R"(\p{N})"};
constexpr std::array chameleon{"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", R"(([\t\n]|    |  ))", R"(\p{N})",
                               R"([\p{P}!-/:-@\[-`{-~])", gpt2_words};
constexpr std::array tiny_aya{R"(\d{1,3}(?=(?:\d{3})*\b))", gpt4o_words};
#define HAN R"(\x{2E80}-\x{2FDF}\x{3005}\x{3007}\x{3021}-\x{3029}\x{3038}-\x{303B}\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF})" \
            R"(\x{20000}-\x{2FA1F})"
#define UPPER R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^)" HAN "]]"
#define LOWER R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^)" HAN "]]"
constexpr std::array kimi{"[" HAN "]+"
                          R"(|[^\r\n\p{L}\p{N}]?)" UPPER "*" LOWER R"(+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
                          R"(|[^\r\n\p{L}\p{N}]?)" UPPER "+" LOWER R"(*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
                          R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
#undef HAN
#undef UPPER
#undef LOWER
constexpr std::array superbpe{R"(\p{N}+)", R"((?=(\d{3})+(?!\d)))"};
constexpr std::array bailing{R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"};
constexpr std::array seed_coder{
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::array ufakzeka{R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::array afmoe{threes_from_the_right, "[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+", deepseek3_words};
constexpr std::array laguna{R"([^\n]+|[\n]+)", qwen2_words};
constexpr std::array exaone_moe{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N})"
                                R"(| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)"};
constexpr std::array minicpm5{
    three_digits,
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};

// Of entries that cut alike, recognise_split takes the first.
constexpr gguf_split splits[] = {
    {"", unnamed},
    {"default", unnamed},
    {"gpt-2", gpt2},
    {"smollm", digits_gpt2},
    {"llama-bpe", llama3, true, true},
    {"dbrx", llama3},
    {"qwen2", qwen2, false, false, true},
    {"qwen35", qwen35},
    {"gpt-4o", gpt4o},
    {"tekken", tekken, true, true},
    {"deepseek-llm", deepseek_llm},
    {"deepseek-coder", deepseek_coder},
    {"deepseek-v3", deepseek3},
    {"falcon", falcon},
    // The rest in the order of the alphabet.
    {"a.x-4.0", gpt2},
    {"afmoe", afmoe},
    {"bailingmoe", bailing},
    {"bailingmoe2", bailing},
    {"bloom", bloom},
    {"chameleon", chameleon, false, true},
    {"chatglm-bpe", llama3},
    {"codeshell", digits_gpt2},
    {"cohere2moe", tiny_aya},
    {"command-r", digits_gpt2},
    {"deepseek-r1-qwen", qwen2, false, false, true},
    {"exaone", digits_gpt2},
    {"exaone-moe", exaone_moe},
    {"exaone4", gpt2},
    {"f2llmv2", qwen2, false, false, true},
    {"falcon-h1", llama3, true, true},
    {"falcon3", llama3, true, true},
    {"gigachat", gpt2},
    {"glm4", llama3, true},
    {"glm5", llama3, true},
    {"gpt3-finnish", bloom},
    {"granite-docling", gpt2},
    {"granite-embed-multi-97m", gpt4o, true},
    {"grok-2", qwen2},
    {"hunyuan", qwen2},
    {"hunyuan-dense", deepseek3},
    {"hy_v4", deepseek3},
    {"jais", gpt2},
    {"jais-2", jais2},
    {"jina-de", gpt2},
    {"jina-es", gpt2},
    {"jina-v1-en", gpt2},
    {"jina-v2-code", gpt2},
    {"jina-v2-de", gpt2},
    {"jina-v2-es", gpt2},
    {"jina-v5-nano", llama3, true, true},
    {"joyai-llm", deepseek3},
    {"kanana2", gpt4o},
    {"kimi-k2", kimi},
    {"kormo", qwen2, false, false, true},
    {"laguna", laguna},
    {"lfm2", llama3, true, true},
    {"llada-moe", bailing},
    {"llama-v3", llama3, true, true},
    {"llama3", llama3, true, true},
    {"llama4", gpt4o},
    {"megrez", qwen2, false, false, true},
    {"mellum", gpt2},
    {"mellum2", digits_gpt2},
    {"midm-2.0", llama3, true, true},
    {"minerva-7b", digits_gpt2},
    {"minicpm5", minicpm5, true},
    {"minimax-m2", gpt4o},
    {"modern-bert", gpt2},
    {"mpt", gpt2},
    {"olmo", gpt2},
    {"phi-2", gpt2},
    {"pixtral", llama3, true, true},
    {"poro-chat", bloom},
    {"refact", digits_gpt2},
    {"roberta-bpe", gpt2},
    {"seed-coder", seed_coder},
    {"smaug-bpe", llama3},
    {"solar-open", qwen2},
    {"spark2_5", spark},
    {"stablelm2", qwen2},
    {"starcoder", digits_gpt2},
    {"superbpe", superbpe},
    {"talkie", gpt4o},
    {"tiny_aya", tiny_aya},
    {"trillion", gpt2},
    {"ufakzeka", ufakzeka},
    {"viking", viking},
    {"youtu", youtu, true},
};

/// Names whose vocabularies are not spelled in bytes.
constexpr std::array<std::string_view, 4> raw_texts{"gemma4", "granite-embed-multi-311m", "sarvam-moe", "whitespace"};

json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

/// Appends the expressions by which a pre-tokenizer cuts. returns false for a part that is no such cut
bool read_expressions(json const& part, std::vector<std::string>& out) {
  std::string const type = part.is_object() ? part.value("type", "") : "";
  if (type == "Sequence") {
    auto const& parts = part.contains("pretokenizers") ? part.at("pretokenizers") : json::array();
    return std::all_of(parts.begin(), parts.end(), [&](json const& p) { return read_expressions(p, out); });
  }
  if (type == "ByteLevel" && !part.value("add_prefix_space", true)) {
    if (part.value("use_regex", true)) out.emplace_back(gpt2_words);
    return true;
  }
  if (type == "Digits") {
    out.emplace_back(part.value("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)");
    return true;
  }
  if (type == "Punctuation" && part.value("behavior", "Isolated") == "Contiguous") {
    out.emplace_back(falcon.front());
    return true;
  }
  if (type != "Split" || part.value("behavior", "") != "Isolated" || part.value("invert", false)) return false;
  auto const pattern = part.find("pattern");
  if (pattern == part.end() || !pattern->is_object() || !pattern->contains("Regex")) return false;
  out.push_back(pattern->at("Regex").get<std::string>());
  return true;
}

}  // namespace

gguf_split const* find_split(std::string_view pre) {
  auto const* const found = std::find_if(std::begin(splits), std::end(splits), [&](gguf_split const& s) { return s.name == pre; });
  return found == std::end(splits) ? nullptr : found;
}

std::string why_unknown_split(std::string_view pre) {
  std::string const key = "tokenizer.ggml.pre is " + in_quotes(pre) + ", ";
  if (std::find(raw_texts.begin(), raw_texts.end(), pre) != raw_texts.end())
    return key + "a vocabulary that isn't spelled in bytes, which kedge can't read; use the model's Hugging Face folder";
  std::vector<std::string_view> known;
  for (gguf_split const& s : splits) known.push_back(s.name);
  return key + "which kedge doesn't know, so it can't tell how text is split (the nearest known name is " + in_quotes(nearest(pre, known)) +
         "); use the model's Hugging Face folder";
}

json pre_tokenizer_of(gguf_split const& split) {
  json parts = json::array();
  for (char const* const expression : split.expressions) {
    bool const last_of_gpt2 = expression == gpt2_words && expression == split.expressions.back();
    if (!last_of_gpt2) parts.push_back({{"type", "Split"}, {"pattern", {{"Regex", expression}}}, {"behavior", "Isolated"}, {"invert", false}});
  }
  parts.push_back(byte_level(split.expressions.back() == gpt2_words));
  if (parts.size() > 1) return {{"type", "Sequence"}, {"pretokenizers", std::move(parts)}};
  json only = std::move(parts.front());
  return only;
}

gguf_split const* recognise_split(json const& pre_tokenizer, bool whole_words) {
  std::vector<std::string> expressions;
  if (!read_expressions(pre_tokenizer, expressions)) return nullptr;
  auto const* const found = std::find_if(std::begin(splits), std::end(splits), [&](gguf_split const& s) {
    return !s.name.empty() && s.whole_words == whole_words && std::equal(s.expressions.begin(), s.expressions.end(), expressions.begin(), expressions.end());
  });
  return found == std::end(splits) ? nullptr : found;
}

}  // namespace kedge::llm
