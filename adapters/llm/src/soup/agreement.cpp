// SPDX-License-Identifier: Apache-2.0
#include "agreement.hpp"

#include <cmath>          // abs
#include <set>            // set
#include <string_view>    // string_view
#include <unordered_set>  // unordered_set

#include <kedge/llm/base/error.hpp>

#include "vocabulary.hpp"

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

std::unordered_set<std::string> added_tokens_of(json const& tokenizer) {
  std::unordered_set<std::string> out;
  if (json const& list = find(tokenizer, "added_tokens"); list.is_array())
    for (auto const& token : list)
      if (token.is_object() && find(token, "content").is_string()) out.insert(token.at("content").get<std::string>());
  return out;
}

/// "token 'x' is 3 in 'A' but 4 in 'B'", of the first such token of A that `asked` holds for; empty where there is none.
template <class F>
std::string first_difference(checkpoint const& a, token_ids const& of_a, checkpoint const& b, token_ids const& of_b,
                             F const& asked) {
  for (auto const& [token, id] : of_a) {
    auto const found = of_b.find(token);
    if (!asked(token) || (found != of_b.end() && found->second == id)) continue;
    std::string const other = found == of_b.end() ? "missing" : std::to_string(found->second);
    return "token " + in_quotes(token) + " is " + std::to_string(id) + " in " + in_quotes(a.path().string()) + " but " + other +
           " in " + in_quotes(b.path().string());
  }
  return {};
}

}  // namespace

void check_architecture(checkpoint const& a, checkpoint const& b) {
  for (char const* const key : {"model_type", "architectures"}) {
    json const &in_a = find(a.config, key), &in_b = find(b.config, key);
    if (same(in_a, in_b)) continue;
    throw error(std::string(key) + " is " + in_a.dump() + " in " + in_quotes(a.path().string()) + " but " + in_b.dump() +
                " in " + in_quotes(b.path().string()) +
                "; only models of one architecture can be merged, or those of tensors alike with --allow_crimes");
  }
}

std::string config_differences(checkpoint const& a, checkpoint const& b) {
  // What shapes tell, what says nothing of the numbers, and what rope_of gathers.
  static std::set<std::string_view> const passed_over{
      "model_type",          "architectures", "vocab_size",           "hidden_size",         "intermediate_size",
      "num_hidden_layers",   "n_layer",       "layer_types",          "tie_word_embeddings", "dtype",
      "torch_dtype",         "_name_or_path", "transformers_version", "use_cache",           "auto_map",
      "quantization_config", "rope_theta",    "rope_scaling",         "rope_parameters"};
  std::string out;
  auto const compare = [&](std::string const& what, json const& in_a, json const& in_b) {
    if (!same(in_a, in_b)) out += (out.empty() ? "" : ", ") + what + " (" + in_a.dump() + " and " + in_b.dump() + ")";
  };
  for (auto const& [key, value] : a.config.items())
    if (!passed_over.contains(key)) compare(key, value, find(b.config, key.c_str()));
  json const of_a = rope_of(a.config), of_b = rope_of(b.config);
  for (auto const& [key, value] : of_a.items()) compare(key == "type" ? "the rope type" : key, value, find(of_b, key.c_str()));
  return out;
}

std::string vocabulary_difference(checkpoint const& a, checkpoint const& b, bool allow_mismatch) {
  if (a.tokenizer.is_null() || b.tokenizer.is_null()) return {};
  if (find(a.tokenizer, "model") == find(b.tokenizer, "model") &&
      find(a.tokenizer, "added_tokens") == find(b.tokenizer, "added_tokens"))
    return {};
  token_ids const of_a = token_ids_of(a.tokenizer), of_b = token_ids_of(b.tokenizer);
  auto added = added_tokens_of(a.tokenizer);
  added.merge(added_tokens_of(b.tokenizer));
  for (bool const plain : {true, false}) {
    auto const asked = [&](std::string const& token) { return added.contains(token) != plain; };
    std::string difference = first_difference(a, of_a, b, of_b, asked);
    if (difference.empty()) difference = first_difference(b, of_b, a, of_a, asked);
    if (difference.empty()) continue;
    if (plain && !allow_mismatch)
      throw error("the tokenizers disagree: " + difference +
                  "; tokenizer_source (base or union) brings them together, --allow_tokenizer_mismatch merges the weights all "
                  "the same");
    return "the tokenizers disagree: " + difference + "; rows of one id are merged, and the result has the first's tokenizer";
  }
  return {};
}

}  // namespace kedge::llm
