// SPDX-License-Identifier: Apache-2.0
#include "agreement.hpp"

#include <array>          // array
#include <cmath>          // abs
#include <string>         // string
#include <unordered_map>  // unordered_map

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

json const& find(json const& object, char const* key) {
  static json const nothing;
  auto const found = object.find(key);
  return found == object.end() ? nothing : *found;
}

/// Equal, or numbers that differ by less than the precision of a float32 that some formats keep them in.
bool same(json const& a, json const& b) {
  if (a.is_null() || b.is_null()) return true;
  if (!a.is_number() || !b.is_number()) return a == b;
  double const x = a.get<double>(), y = b.get<double>();
  return std::abs(x - y) <= 1e-6 * std::abs(x);
}

/// Base and scaling of the rotary embedding, whichever way a config spells them.
json rope_of(json const& config) {
  json out = {{"rope_theta", find(config, "rope_theta")}, {"type", "default"}};
  for (char const* const group : {"rope_parameters", "rope_scaling"}) {
    json const& settings = find(config, group);
    if (!settings.is_object()) continue;
    for (auto const& [key, value] : settings.items()) out[key == "rope_type" ? "type" : key] = value;
    break;
  }
  return out;
}

class comparison {
 public:
  comparison(checkpoint const& a, checkpoint const& b) : a_(a), b_(b) {}

  void check(std::string const& what, json const& in_a, json const& in_b) const {
    if (same(in_a, in_b)) return;
    throw error(what + " is " + in_a.dump() + " in " + in_quotes(a_.path().string()) + " but " + in_b.dump() + " in " +
                in_quotes(b_.path().string()) + "; only models of one architecture and vocabulary can be merged");
  }

 private:
  checkpoint const &a_, &b_;
};

using vocabulary = std::unordered_map<std::string, std::int64_t>;

void add_token(vocabulary& out, json const& token, json const& id) {
  if (token.is_string() && id.is_number_integer()) out[token.get<std::string>()] = id.get<std::int64_t>();
}

/// Token → id; the pieces of a Unigram model are a list whose places are the ids.
vocabulary vocabulary_of(json const& tokenizer) {
  vocabulary out;
  json const& model = find(tokenizer, "model");
  if (json const& vocab = find(model, "vocab"); vocab.is_object())
    for (auto const& [token, id] : vocab.items()) add_token(out, token, id);
  else
    for (std::size_t id = 0; id < vocab.size(); ++id)
      if (vocab[id].is_array() && !vocab[id].empty()) add_token(out, vocab[id][0], id);
  for (auto const& token : find(tokenizer, "added_tokens"))
    if (token.is_object()) add_token(out, find(token, "content"), find(token, "id"));
  return out;
}

void check_tokens(checkpoint const& a, vocabulary const& of_a, checkpoint const& b, vocabulary const& of_b) {
  for (auto const& [token, id] : of_a) {
    auto const found = of_b.find(token);
    if (found != of_b.end() && found->second == id) continue;
    std::string const other = found == of_b.end() ? "missing" : std::to_string(found->second);
    throw error("the tokenizers disagree: token " + in_quotes(token) + " is " + std::to_string(id) + " in " +
                in_quotes(a.path().string()) + " but " + other + " in " + in_quotes(b.path().string()) +
                "; --allow_tokenizer_mismatch merges the weights all the same");
  }
}

}  // namespace

void check_architecture(checkpoint const& a, checkpoint const& b) {
  static constexpr std::array keys{"model_type",   "architectures",     "vocab_size",  "hidden_size", "num_attention_heads",
                                   "num_key_value_heads", "head_dim", "intermediate_size", "hidden_act", "num_local_experts"};
  comparison const models(a, b);
  for (char const* const key : keys) models.check(key, find(a.config, key), find(b.config, key));
  json const of_a = rope_of(a.config), of_b = rope_of(b.config);
  for (auto const& [key, value] : of_a.items()) models.check(key == "type" ? "the rope type" : key, value, find(of_b, key.c_str()));
}

void check_vocabulary(checkpoint const& a, checkpoint const& b) {
  if (a.tokenizer.is_null() || b.tokenizer.is_null()) return;
  if (find(a.tokenizer, "model") == find(b.tokenizer, "model") &&
      find(a.tokenizer, "added_tokens") == find(b.tokenizer, "added_tokens"))
    return;
  vocabulary const of_a = vocabulary_of(a.tokenizer), of_b = vocabulary_of(b.tokenizer);
  check_tokens(a, of_a, b, of_b);
  check_tokens(b, of_b, a, of_a);
}

}  // namespace kedge::llm
