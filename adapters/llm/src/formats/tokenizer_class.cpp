// SPDX-License-Identifier: Apache-2.0
#include "tokenizer_class.hpp"

#include <algorithm>    // find
#include <string>       // string
#include <string_view>  // string_view

#include <kedge/llm/base/error.hpp>

#include "../text/json_fields.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
using text::member;

struct registered {
  std::string_view model_type, tokenizer;
};

// The class that transformers 5.23 keeps for a type of language model. Types that are not here have none.
constexpr std::array<registered, 71> registry{{
    {"code_llama", "CodeLlamaTokenizer"}, {"codegen", "GPT2Tokenizer"}, {"cohere", "CohereTokenizer"}, {"cohere2", "CohereTokenizer"},
    {"dbrx", "GPT2Tokenizer"}, {"diffusion_gemma", "GemmaTokenizer"}, {"falcon_mamba", "GPTNeoXTokenizer"}, {"flex_olmo", "TokenizersBackend"},
    {"gemma", "GemmaTokenizer"}, {"gemma2", "GemmaTokenizer"}, {"gemma3", "GemmaTokenizer"}, {"gemma3_text", "GemmaTokenizer"},
    {"gemma3n", "GemmaTokenizer"}, {"gemma3n_text", "GemmaTokenizer"}, {"glm", "TokenizersBackend"}, {"glm4", "TokenizersBackend"},
    {"glm4_moe", "TokenizersBackend"}, {"glm4_moe_lite", "TokenizersBackend"}, {"gpt2", "GPT2Tokenizer"}, {"gpt_bigcode", "TokenizersBackend"},
    {"gpt_neo", "GPT2Tokenizer"}, {"gpt_neox", "GPTNeoXTokenizer"}, {"gptj", "GPT2Tokenizer"}, {"granite", "TokenizersBackend"},
    {"granitemoe", "TokenizersBackend"}, {"granitemoehybrid", "TokenizersBackend"}, {"granitemoeshared", "TokenizersBackend"},
    {"jais2", "GPT2Tokenizer"}, {"kimi_linear", "TokenizersBackend"}, {"mamba", "GPTNeoXTokenizer"}, {"mamba2", "GPTNeoXTokenizer"},
    {"mimo_v2_flash", "TokenizersBackend"}, {"ministral", "TokenizersBackend"}, {"ministral3", "TokenizersBackend"},
    {"mistral", "TokenizersBackend"}, {"mistral3", "TokenizersBackend"}, {"mistral_large4", "TokenizersBackend"}, {"mixtral", "TokenizersBackend"},
    {"mpt", "GPTNeoXTokenizer"}, {"olmo", "GPTNeoXTokenizer"}, {"olmo2", "TokenizersBackend"}, {"olmo3", "TokenizersBackend"},
    {"olmo_hybrid", "TokenizersBackend"}, {"olmoe", "GPTNeoXTokenizer"}, {"opt", "GPT2Tokenizer"}, {"persimmon", "TokenizersBackend"},
    {"phi", "GPT2Tokenizer"}, {"pixtral", "TokenizersBackend"}, {"qwen2", "Qwen2Tokenizer"}, {"qwen2_5_vl", "Qwen2Tokenizer"},
    {"qwen2_moe", "Qwen2Tokenizer"}, {"qwen2_vl", "Qwen2Tokenizer"}, {"qwen3", "Qwen2Tokenizer"}, {"qwen3_5", "Qwen3_5Tokenizer"},
    {"qwen3_5_moe", "Qwen3_5Tokenizer"}, {"qwen3_5_moe_text", "Qwen3_5Tokenizer"}, {"qwen3_5_text", "Qwen3_5Tokenizer"},
    {"qwen3_moe", "Qwen2Tokenizer"}, {"qwen3_next", "Qwen2Tokenizer"}, {"qwen3_vl", "Qwen2Tokenizer"}, {"qwen3_vl_moe", "Qwen2Tokenizer"},
    {"qwen4_exp", "Qwen3_5Tokenizer"}, {"recurrent_gemma", "GemmaTokenizer"}, {"rwkv", "GPTNeoXTokenizer"}, {"shieldgemma2", "GemmaTokenizer"},
    {"stablelm", "TokenizersBackend"}, {"starcoder2", "GPT2Tokenizer"}, {"t5gemma", "GemmaTokenizer"}, {"voxtral", "TokenizersBackend"},
    {"xlstm", "GPTNeoXTokenizer"}, {"zaya", "GemmaTokenizer"},
}};

// Types whose folders often name a wrong class: transformers takes the registered one, and where there is none, TokenizersBackend.
constexpr std::array<std::string_view, 41> misnamed{
    "arctic", "chatlm", "ernie4_5", "ernie4_5_moe", "fuyu", "h2ovl_chat", "hyperclovax", "hyperclovax_vlm", "hyperclovax_vision_v2",
    "internlm2", "internlm3", "iquestcoder", "jamba", "llava", "llava_next", "minicpm3", "minicpmv", "minimax_m2", "modernbert",
    "modernbert-decoder", "molmo", "molmo2", "nemotron", "nvfp4", "opencua", "openvla", "paddleocr_vl", "phi3", "phi3_v", "phimoe",
    "qwen2", "qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text", "qwen4_exp", "step3_vl", "vipllava", "cohere_asr", "camembertv2-base",
    "siglip2", "smolvlm"};

// Classes that transformers has too, most for other kinds of models. Any further name is read as TokenizersBackend, as there.
constexpr std::array<std::string_view, 82> not_built{
    "AlbertTokenizer", "BarthezTokenizer", "BartphoTokenizer", "BertGenerationTokenizer", "BertJapaneseTokenizer", "BertTokenizer",
    "BertTokenizerLegacy", "BertweetTokenizer", "BigBirdTokenizer", "BioGptTokenizer", "BlenderbotSmallTokenizer", "BlenderbotTokenizer",
    "ByT5Tokenizer", "CLIPTokenizer", "CTRLTokenizer", "CamembertTokenizer", "CanineTokenizer", "ClvpTokenizer", "ConvBertTokenizer",
    "CpmAntTokenizer", "CpmTokenizer", "DPRQuestionEncoderTokenizer", "DebertaTokenizer", "DebertaV2Tokenizer", "DiaTokenizer",
    "DistilBertTokenizer", "EsmTokenizer", "EsmcTokenizer", "FNetTokenizer", "FSMTTokenizer", "FlaubertTokenizer", "FunnelTokenizer",
    "GPTNeoXJapaneseTokenizer", "GPTSw3Tokenizer", "HerbertTokenizer", "LasrTokenizer", "LayoutLMv2Tokenizer", "LayoutLMv3Tokenizer",
    "LayoutXLMTokenizer", "LukeTokenizer", "M2M100Tokenizer", "MBart50Tokenizer", "MBartTokenizer", "MLukeTokenizer", "MPNetTokenizer",
    "MarianTokenizer", "MarkupLMTokenizer", "MgpstrTokenizer", "MyT5Tokenizer", "NllbTokenizer", "NougatTokenizer", "OpenAIGPTTokenizer",
    "PLBartTokenizer", "PegasusTokenizer", "PerceiverTokenizer", "PhobertTokenizer", "Pop2PianoTokenizer", "ProphetNetTokenizer",
    "ReformerTokenizer", "RemBertTokenizer", "RoCBertTokenizer", "RoFormerTokenizer", "RobertaTokenizer", "SeamlessM4TTokenizer",
    "Siglip2Tokenizer", "SiglipTokenizer", "Speech2TextTokenizer", "SpeechT5Tokenizer", "SplinterTokenizer", "T5Tokenizer", "TapasTokenizer",
    "UdopTokenizer", "VideoPrismTokenizer", "VitsTokenizer", "Wav2Vec2CTCTokenizer", "Wav2Vec2PhonemeCTCTokenizer", "WhisperTokenizer",
    "XGLMTokenizer", "XLMRobertaTokenizer", "XLMTokenizer", "XLNetTokenizer", "MistralCommonBackend"};

template <class List>
bool holds(List const& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

std::string_view without_fast(std::string_view name) { return name.ends_with("Fast") ? name.substr(0, name.size() - 4) : name; }

std::string text_of(json const& object, char const* key, char const* where) {
  json const* const value = member(object, key);
  if (value == nullptr) return {};
  if (!value->is_string()) throw error(std::string(where) + ": " + key + " is not a text");
  return value->get<std::string>();
}

bool has_code_of_its_own(json const& tokenizer_config) {
  json const* const map = member(tokenizer_config, "auto_map");
  return map != nullptr && (map->is_array() || member(*map, "AutoTokenizer") != nullptr);
}

std::string_view registered_for(std::string_view model_type) {
  for (registered const& row : registry)
    if (row.model_type == model_type) return row.tokenizer;
  return holds(misnamed, model_type) ? "TokenizersBackend" : std::string_view();
}

tokenizer_class class_named(std::string_view name) {
  std::string_view const plain = without_fast(name);
  for (std::string_view const spelling : {name, plain})
    if (auto const known = from_name<tokenizer_class>(spelling)) return *known;
  if (holds(not_built, plain))
    throw error("tokenizer_config.json: tokenizer_class " + in_quotes(name) +
                " is not supported; if tokenizer.json says all, name PreTrainedTokenizerFast there");
  return tokenizer_class::backend;
}

}  // namespace

tokenizer_class class_of_folder(json const& config, json const& tokenizer_config, std::function<bool()> const& spells_byte_level) {
  std::string const type = text_of(config, "model_type", "config.json");
  std::string const name = text_of(config, "model_name", "config.json");
  std::string named_class = text_of(tokenizer_config, "tokenizer_class", "tokenizer_config.json");
  if (named_class.empty()) named_class = text_of(config, "tokenizer_class", "config.json");
  if (has_code_of_its_own(tokenizer_config) && !from_name<tokenizer_class>(without_fast(named_class)) && !holds(misnamed, type))
    throw error("tokenizer_config.json: auto_map names code of the folder's own, which kedge does not run; if tokenizer.json says all, "
                "remove auto_map and name PreTrainedTokenizerFast as tokenizer_class");
  std::string_view const own = registered_for(type);
  if (named_class.empty()) return own.empty() ? tokenizer_class::backend : class_named(own);
  bool const override_named = holds(misnamed, type) || holds(misnamed, name);
  if (without_fast(named_class) == "LlamaTokenizer" && !override_named && spells_byte_level()) return tokenizer_class::backend;
  if (own.empty() || own == without_fast(named_class)) return class_named(named_class);
  if (own == "TokenizersBackend") return tokenizer_class::backend;
  return class_named(override_named ? own : std::string_view(named_class));
}

}  // namespace kedge::llm
