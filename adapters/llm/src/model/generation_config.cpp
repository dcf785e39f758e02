// SPDX-License-Identifier: Apache-2.0
#include <array>        // array
#include <cmath>        // isfinite, floor
#include <limits>       // numeric_limits
#include <string_view>  // string_view

#include <nlohmann/json.hpp>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/model/sampling_settings.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

/// The settings of generation_config.json, each taken once; what nobody took is told.
class reader {
 public:
  reader(json const& config, std::string where) : config_(config), where_(std::move(where)) {}

  [[noreturn]] void fail(std::string_view key, std::string const& why) const {
    throw error(where_ + ": " + std::string(key) + " of generation_config.json " + why + ", not " + find(key)->dump());
  }

  json const* find(std::string_view key) const {
    if (!config_.is_object()) return nullptr;
    auto const found = config_.find(key);
    return found == config_.end() || found->is_null() ? nullptr : &*found;
  }

  std::optional<bool> flag(std::string_view key) const {
    json const* const value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_boolean()) fail(key, "has to be true or false");
    return value->get<bool>();
  }

  /// A finite number from `least` to `most`.
  std::optional<double> number(std::string_view key, double least, double most) const {
    json const* const value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number() || !std::isfinite(value->get<double>()) || value->get<double>() < least || value->get<double>() > most)
      fail(key, most < unbounded   ? "has to be a number from " + short_text(least) + " to " + short_text(most)
                : least == above_0 ? std::string("has to be a number above 0")
                                   : "has to be a number of at least " + short_text(least));
    return value->get<double>();
  }

  std::optional<std::size_t> count(std::string_view key, double least) const {
    auto const value = number(key, least, 1e15);
    if (!value) return std::nullopt;
    if (*value != std::floor(*value)) fail(key, "has to be a whole number");
    return static_cast<std::size_t>(*value < 0 ? 0 : *value);
  }

  std::vector<std::int32_t> tokens(std::string_view key) const {
    json const* const value = find(key);
    if (value == nullptr) return {};
    return tokens_of(value->is_array() ? *value : json::array({*value}), key);
  }

  std::vector<logit_rules::biased_sequence> sequences(std::string_view key) const {
    std::vector<logit_rules::biased_sequence> out;
    json const* const value = find(key);
    if (value == nullptr) return out;
    if (!value->is_array()) fail(key, "has to be a list of lists of tokens");
    for (json const& sequence : *value) {
      if (!sequence.is_array() || sequence.empty()) fail(key, "has to be a list of lists of tokens");
      out.push_back({tokens_of(sequence, key), -std::numeric_limits<double>::infinity()});
    }
    return out;
  }

  std::vector<logit_rules::biased_sequence> biased(std::string_view key) const {
    std::vector<logit_rules::biased_sequence> out;
    json const* const value = find(key);
    if (value == nullptr) return out;
    constexpr char const* shape = "has to be a list of pairs, tokens and bias";
    if (!value->is_array()) fail(key, shape);
    for (json const& pair : *value) {
      if (!pair.is_array() || pair.size() != 2 || !pair[0].is_array() || pair[0].empty() || !pair[1].is_number()) fail(key, shape);
      out.push_back({tokens_of(pair[0], key), pair[1].get<double>()});
    }
    return out;
  }

  std::optional<std::pair<std::size_t, double>> decay(std::string_view key) const {
    json const* const value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_array() || value->size() != 2 || !(*value)[0].is_number_unsigned() || !(*value)[1].is_number())
      fail(key, "has to be a number of tokens and a factor");
    return std::pair((*value)[0].get<std::size_t>(), (*value)[1].get<double>());
  }

  static constexpr double above_0 = 1e-300, unbounded = 1e300;

 private:
  static std::string short_text(double x) { return json(x == std::floor(x) ? json(static_cast<std::int64_t>(x)) : json(x)).dump(); }

  std::vector<std::int32_t> tokens_of(json const& list, std::string_view key) const {
    std::vector<std::int32_t> out;
    for (json const& id : list) {
      if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<std::int32_t>::max()) fail(key, "has to hold ids of tokens");
      out.push_back(id.get<std::int32_t>());
    }
    return out;
  }

  json const& config_;
  std::string where_;
};

struct unapplied {
  std::string_view key;
  double without_effect;  ///< the value that asks for nothing
};

// Ways of generating that kedge does not have.
constexpr std::array<unapplied, 13> others{{{"num_beams", 1},
                                            {"num_beam_groups", 1},
                                            {"diversity_penalty", 0},
                                            {"penalty_alpha", 0},
                                            {"guidance_scale", 1},
                                            {"num_return_sequences", 1},
                                            {"prompt_lookup_num_tokens", 0},
                                            {"max_time", -1},
                                            {"stop_strings", -1},
                                            {"watermarking_config", -1},
                                            {"constraints", -1},
                                            {"force_words_ids", -1},
                                            {"dola_layers", -1}}};

void tell_others(reader const& from, std::string const& where, std::vector<std::string>& notes) {
  for (auto const& [key, nothing] : others) {
    json const* const value = from.find(key);
    bool const asks = value != nullptr && !(value->is_number() && value->get<double>() == nothing) && !(value->is_array() && value->empty());
    if (asks) notes.push_back(where + ": " + std::string(key) + " of generation_config.json is not applied: " + value->dump());
  }
  if (from.flag("token_healing").value_or(false)) notes.push_back(where + ": token_healing of generation_config.json is not applied: true");
}

void read_rules(reader const& from, logit_rules& rules) {
  rules.sequence_bias = from.biased("sequence_bias");
  rules.encoder_repetition_penalty = from.number("encoder_repetition_penalty", reader::above_0, reader::unbounded).value_or(1);
  rules.repetition_penalty = from.number("repetition_penalty", reader::above_0, reader::unbounded).value_or(1);
  rules.no_repeat_ngram_size = from.count("no_repeat_ngram_size", 0).value_or(0);
  rules.encoder_no_repeat_ngram_size = from.count("encoder_no_repeat_ngram_size", 0).value_or(0);
  rules.bad_words = from.sequences("bad_words_ids");
  rules.min_new_tokens = from.count("min_new_tokens", 0).value_or(0);
  if (!from.find("min_new_tokens")) rules.min_length = from.count("min_length", 0).value_or(0);
  if (auto const bos = from.tokens("forced_bos_token_id"); !bos.empty()) rules.forced_bos = bos.front();
  rules.forced_eos = from.tokens("forced_eos_token_id");
  rules.exponential_decay = from.decay("exponential_decay_length_penalty");
  rules.suppress = from.tokens("suppress_tokens");
  rules.begin_suppress = from.tokens("begin_suppress_tokens");
}

}  // namespace

generation_defaults read_generation_config(json const& generation_config, std::string const& where) {
  reader const from(generation_config, where);
  generation_defaults out;
  out.do_sample = from.flag("do_sample");
  bool const greedy = out.do_sample == false;  // what only sampling reads is then not looked at, as there
  if (!greedy) {
    out.temperature = from.number("temperature", 0, 1e6);
    out.top_p = from.number("top_p", 0, 1);
    out.min_p = from.number("min_p", 0, 1);
    out.top_k = from.count("top_k", -1);
    out.further.top_h = from.number("top_h", 0, 1).value_or(0);
    out.further.typical_p = from.number("typical_p", 0, reader::unbounded).value_or(1);
    out.further.epsilon_cutoff = from.number("epsilon_cutoff", 0, reader::unbounded).value_or(0);
    out.further.eta_cutoff = from.number("eta_cutoff", 0, reader::unbounded).value_or(0);
  }
  out.max_new_tokens = from.count("max_new_tokens", 1);
  out.max_length = from.count("max_length", 0);
  read_rules(from, out.further.rules);
  tell_others(from, where, out.notes);
  return out;
}

std::vector<std::int32_t> stop_tokens_of(json const& config, json const& generation_config, std::string const& where) {
  json const& settings = generation_config.is_object() ? generation_config : config;
  json const ids = settings.is_object() && settings.contains("eos_token_id") ? settings.at("eos_token_id") : json();
  if (ids.is_null()) return {};
  std::vector<std::int32_t> stop;
  for (json const& id : ids.is_array() ? ids : json::array({ids})) {
    if (!id.is_number_integer()) throw error(where + ": eos_token_id is neither an integer nor a list of integers");
    stop.push_back(id.get<std::int32_t>());
  }
  return stop;
}

}  // namespace kedge::llm
