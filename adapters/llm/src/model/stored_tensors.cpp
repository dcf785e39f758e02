// SPDX-License-Identifier: Apache-2.0
#include "stored_tensors.hpp"

#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>

namespace kedge::llm {
namespace {

constexpr std::string_view body = "model.", inside = "language_model.";

bool same_numbers(checkpoint const& source, std::string const& one, std::string const& other) {
  tensor_entry const &a = source.entry(one), &b = source.entry(other);
  if (a.shape != b.shape) return false;
  std::vector<float> x(a.elements()), y(b.elements());
  source.read(one, dtype::f32, std::as_writable_bytes(std::span(x)));
  source.read(other, dtype::f32, std::as_writable_bytes(std::span(y)));
  return std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
}

}  // namespace

std::string stored_name(checkpoint const& source, std::string const& parameter) {
  bool const of_body = parameter.starts_with(body);
  std::string const rest = of_body ? parameter.substr(body.size()) : parameter;
  std::string const within = std::string(inside) + parameter;                 // language_model.model.layers.0…
  std::string const nested = std::string(body) + std::string(inside) + rest;  // model.language_model.layers.0…
  for (std::string const& name : {parameter, within, of_body ? nested : within, rest})
    if (source.contains(name)) return name;
  return parameter;
}

std::string base_tensor(checkpoint const& source, std::string const& name) {
  std::string const own = stored_name(source, name);
  if (source.contains(own)) return own;
  std::string const embedding = stored_name(source, "model.embed_tokens.weight");
  return name == "lm_head.weight" && source.contains(embedding) ? embedding : std::string();
}

transformer_config read_config(checkpoint const& source) {
  transformer_config config = read_config(source.config, source.path().string());
  // A head of its own beside the flag that ties it to the embedding counts, as in transformers 5.
  std::string const head = stored_name(source, "lm_head.weight"), embedding = stored_name(source, "model.embed_tokens.weight");
  if (config.tied_embeddings && config.lm_head && source.contains(head) && source.contains(embedding))
    config.tied_embeddings = same_numbers(source, head, embedding);
  return config;
}

std::vector<std::string> unread_tensors(checkpoint const& source, transformer_config const& config) {
  std::set<std::string> read{stored_name(source, "lm_head.weight")};  // tied to the embedding, it says nothing new
  if (!config.tied_embeddings && !config.lm_head) read.clear();
  for (parameter const& p : parameters_of(config)) read.insert(stored_name(source, p.name));
  std::vector<std::string> unread;
  for (tensor_entry const& t : source.tensors())
    if (!read.contains(t.name) && !t.name.ends_with("rotary_emb.inv_freq")) unread.push_back(t.name);
  return unread;
}

std::string tell_unread(std::vector<std::string> const& names) {
  if (names.empty()) return {};
  constexpr std::size_t shown = 3;
  std::string text = std::to_string(names.size()) + (names.size() == 1 ? " tensor is not read: " : " tensors are not read: ");
  for (std::size_t i = 0; i < std::min(shown, names.size()); ++i) text += (i > 0 ? ", " : "") + names[i];
  return text + (names.size() > shown ? ", …" : "");
}

}  // namespace kedge::llm
