// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>   // size_t
#include <cstdint>   // int32_t, uint64_t
#include <optional>  // optional
#include <span>      // span
#include <string>    // string
#include <utility>   // pair
#include <vector>    // vector

#include <nlohmann/json_fwd.hpp>

namespace kedge::llm {

/// Changes of the scores of the next token before it is drawn, which transformers calls logits processors. They have its names, its rules and
/// its order; "scores" are logits, and a token that is ruled out has the score −∞.
struct logit_rules {
  struct biased_sequence {
    std::vector<std::int32_t> tokens;
    double bias = 0;  ///< added to the score of the last token where the others have just been written; −∞ forbids the sequence
    bool operator==(biased_sequence const&) const = default;
  };

  std::vector<biased_sequence> sequence_bias;
  double encoder_repetition_penalty = 1;         ///< the scores of the prompt's tokens: s/p where negative, s·p else
  double repetition_penalty = 1;                 ///< the scores of tokens of prompt and completion: s·p where negative, s/p else
  std::size_t no_repeat_ngram_size = 0;          ///< no sequence of so many tokens twice in prompt and completion; 0: off
  std::size_t encoder_no_repeat_ngram_size = 0;  ///< none of the prompt's once more; 0: off
  std::vector<biased_sequence> bad_words;        ///< of bias −∞
  std::size_t min_length = 0;                    ///< no stop token before prompt and completion have so many tokens
  std::size_t min_new_tokens = 0;                ///< no stop token before the completion has so many tokens
  std::optional<std::int32_t> forced_bos;        ///< the second token of all, where the prompt has one token
  std::vector<std::int32_t> forced_eos;          ///< the last token that fits is one of these
  std::optional<std::pair<std::size_t, double>> exponential_decay;  ///< after so many new tokens: stop tokens gain |s|·(factor^n − 1)
  std::vector<std::int32_t> suppress;            ///< never written
  std::vector<std::int32_t> begin_suppress;      ///< not written first

  /// True if nothing is changed.
  bool empty() const { return *this == logit_rules(); }
  bool operator==(logit_rules const&) const = default;
};

/// Which prompt a prompt is, and which of its samples the first, of all those of whom one process may draw a part.
struct sample_number {
  std::size_t prompt = 0, sample = 0;
  bool operator==(sample_number const&) const = default;
};

/// How tokens are drawn. The truncations keep what transformers keeps, in its order: temperature, top-h, top-k, top-p, min-p, typical-p,
/// epsilon, eta.
struct sampling_settings {
  std::size_t max_new_tokens = 256;
  double temperature = 1;                      ///< 0: the likeliest token, always
  double top_p = 1;                            ///< fewest tokens that hold this share of the probability; 1: off; 0: the likeliest
  double min_p = 0;                            ///< tokens at least so likely as this share of the likeliest; 0: off
  std::size_t top_k = 0;                       ///< 0: off
  std::vector<std::int32_t> stop_tokens = {};  ///< a completion ends with the first of these
  std::uint64_t seed = 42;
  std::size_t max_length = 0;                  ///< of prompt and completion together; 0: off
  std::size_t batch_size = 48;                 ///< sequences decoded at once; changes speed and memory, and results only by rounding
  double top_h = 0;                            ///< likeliest tokens, of 100, that hold this share of their entropy; 0: off
  double typical_p = 1;                        ///< tokens of the most usual surprise that hold this share of the probability; 1: off
  double epsilon_cutoff = 0;                   ///< tokens at least so likely; 0: off
  double eta_cutoff = 0;                       ///< tokens at least min(ε, √ε e^−H) likely, H the entropy in nats; 0: off
  logit_rules rules = {};                      ///< applied before the temperature
  std::vector<sample_number> numbers = {};     ///< of each prompt, for its samples' random streams; empty: as they stand
};

/// Where the next token stands.
struct decoding_place {
  std::span<std::int32_t const> prompt, completion;  ///< completion: what is written so far
  std::size_t max_new_tokens = 0;
  std::span<std::int32_t const> stop_tokens;
};

/// Applies the rules to the scores of the next token, one of each token of the vocabulary.
void apply(logit_rules const& rules, decoding_place const& place, std::span<float> scores);
void apply(logit_rules const& rules, decoding_place const& place, std::span<double> scores);

/// What generation_config.json says of sampling, as transformers' generate uses it with the model's own settings.
struct generation_defaults {
  std::optional<bool> do_sample;  ///< false: the likeliest token, always
  std::optional<double> temperature, top_p, min_p;
  std::optional<std::size_t> top_k, max_new_tokens, max_length;
  sampling_settings further;        ///< top_h, typical_p, cut-offs and rules alone
  std::vector<std::string> notes;   ///< settings that are not applied: a line each
};

/// where  the model, for messages
/// throws  kedge::llm::error naming the key whose value transformers refuses, or is of another kind; a null key is an absent one
generation_defaults read_generation_config(nlohmann::ordered_json const& generation_config, std::string const& where);

/// The tokens that end a completion: eos_token_id of generation_config.json, or where there is no such file, of config.json.
/// throws  kedge::llm::error if it is neither an integer nor a list of integers
std::vector<std::int32_t> stop_tokens_of(nlohmann::ordered_json const& config, nlohmann::ordered_json const& generation_config, std::string const& where);

}  // namespace kedge::llm
