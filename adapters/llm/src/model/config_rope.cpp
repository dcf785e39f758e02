// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "config_values.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

class rope_reader {
 public:
  rope_reader(config_values const& values, family const& of) : values_(values), family_(of) {}

  void read(transformer_config& c) const {
    char const* const group = values_.has("rope_scaling") ? "rope_scaling" : "rope_parameters";
    json const usual = family_.rope_defaults != nullptr ? json::parse(family_.rope_defaults) : json::object();
    json const settings = values_.has(group) ? values_[group] : usual;
    if (!settings.is_object()) values_.fail(std::string("config: ") + group + " is not an object");
    double const theta = values_.number_or("rope_theta", family_.theta);
    if (!family_.local_rope) {
      if (settings.contains("full_attention"))
        values_.fail(std::string("config: ") + group + " by layer type is not supported for " +
                     std::string(family_.names.type));
      c.rope = rope(c, settings, group, theta);
      return;
    }
    json const nested = values_.has("rope_parameters") ? values_["rope_parameters"] : json::object();
    if (!nested.empty() && !nested.contains("full_attention")) values_.fail("config: rope_parameters has no full_attention");
    json global = nested.value("full_attention", json::object());
    if (values_.has("rope_scaling")) global.update(values_["rope_scaling"]);
    c.rope = rope(c, global, "rope_parameters", theta);
    c.local_rope = rope(c, nested.value("sliding_attention", json::object()), "rope_parameters",
                        values_.number_or("rope_local_base_freq", family_.local_theta));
  }

 private:
  [[nodiscard]] rope_type type_of_rope(json const& settings, std::string const& group) const {
    json const given = settings.value("rope_type", settings.value("type", json(name_of(rope_type::plain))));
    // The first Phi-3 checkpoints call it by other names.
    for (char const* const old : {"su", "yarn"})
      if (family_.own_longrope && given == old) return rope_type::longrope;
    return values_.known<rope_type>(group + ": rope_type", given);
  }

  [[nodiscard]] rope_settings rope(transformer_config const& c, json const& settings, std::string const& group,
                                   double theta) const {
    rope_settings rope;
    rope.theta = values_.positive_number(settings, "rope_theta", theta);
    rope.type = type_of_rope(settings, group);
    rope.share =
        values_.number_or(settings, "partial_rotary_factor",
                          values_.number_or("partial_rotary_factor", family_.rotary_share > 0 ? family_.rotary_share : 1));
    if (!(rope.share > 0 && rope.share <= 1)) values_.fail("config: partial_rotary_factor makes no sense");
    if (rope.share != 1 && family_.rotary_share == 0)
      values_.fail("config: partial_rotary_factor is not supported for " + std::string(family_.names.type));
    rope.interleaved = family_.interleaved_rope;
    if (family_.query_growth) rope.query_growth = values_.number_or(settings, "llama_4_scaling_beta", 0);
    if (rope.type == rope_type::plain && rope.query_growth == 0) return rope;
    auto const length = static_cast<double>(c.max_positions);
    double original = values_.number_or("original_max_position_embeddings",
                                        values_.number_or(settings, "original_max_position_embeddings", length));
    if (family_.own_longrope)
      original = values_.number_or("original_max_position_embeddings", static_cast<double>(family_.sizes.positions));
    if (!(original >= 1 && original <= 1e9)) values_.fail("config: original_max_position_embeddings makes no sense");
    rope.original_length = static_cast<std::int64_t>(rope.type == rope_type::dynamic ? length : original);
    if (rope.type == rope_type::plain) return rope;
    if (!config_values::has(settings, "factor") && rope.type != rope_type::longrope && rope.type != rope_type::yarn)
      values_.fail("config: " + group + " has no factor");
    rope.factor = values_.positive_number(settings, "factor", length / original);
    rope.low_frequency_factor = values_.positive_number(settings, "low_freq_factor", rope.low_frequency_factor);
    rope.high_frequency_factor = values_.positive_number(settings, "high_freq_factor", rope.high_frequency_factor);
    rope.beta_fast = values_.positive_number(settings, "beta_fast", rope.beta_fast);
    rope.beta_slow = values_.positive_number(settings, "beta_slow", rope.beta_slow);
    rope.truncate = settings.value("truncate", true);
    if (rope.type == rope_type::yarn)
      rope.attention_factor = values_.positive_number(settings, "attention_factor", yarn_attention(settings, rope.factor));
    if (rope.type == rope_type::longrope) {
      double const grown = rope.factor > 1 ? std::sqrt(1 + std::log(rope.factor) / std::log(original)) : 1;
      rope.attention_factor = values_.positive_number(settings, "attention_factor", grown);
      rope.short_factors = factors(c, rope, settings, "short_factor");
      rope.long_factors = factors(c, rope, settings, "long_factor");
    }
    return rope;
  }

  // How much longer contexts sharpen attention: arXiv 2309.00071, equation 22.
  [[nodiscard]] double yarn_attention(json const& settings, double factor) const {
    auto const grown = [&](double m) { return factor > 1 ? 0.1 * m * std::log(factor) + 1 : 1; };
    double const m = values_.number_or(settings, "mscale", 0), all = values_.number_or(settings, "mscale_all_dim", 0);
    return m != 0 && all != 0 ? grown(m) / grown(all) : grown(1);
  }

  [[nodiscard]] std::vector<double> factors(transformer_config const& c, rope_settings const& rope, json const& settings,
                                            char const* key) const {
    if (!config_values::has(settings, key)) values_.fail(std::string("config: longrope has no ") + key);
    auto all = settings[key].get<std::vector<double>>();
    auto const expected = static_cast<std::size_t>(rope.share * static_cast<double>(c.head_dim)) / 2;
    if (all.size() != expected)
      values_.fail(std::string("config: ") + key + " has " + std::to_string(all.size()) +
                   " numbers, the rotated part of a head needs " + std::to_string(expected));
    for (double const f : all)
      if (!(f > 0)) values_.fail(std::string("config: ") + key + " must be positive");
    return all;
  }

  config_values const& values_;
  family const& family_;
};

}  // namespace

void read_ropes(config_values const& values, family const& of, transformer_config& c) { rope_reader(values, of).read(c); }

}  // namespace kedge::llm
