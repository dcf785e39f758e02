// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/model/weights.hpp>

#include <ATen/CPUGeneratorImpl.h>

#include <sstream>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/safetensors.hpp>

#include "stored_tensors.hpp"
#include "tensor_bytes.hpp"

namespace kedge::llm {
namespace {

std::string shape_text(std::vector<std::int64_t> const& shape) {
  std::ostringstream text;
  text << '[';
  for (std::size_t i = 0; i < shape.size(); ++i) text << (i ? ", " : "") << shape[i];
  text << ']';
  return text.str();
}

void check(checkpoint const& source, parameter const& p) {
  if (!source.contains(stored_name(source, p.name)))
    throw error(source.path().string() + ": tensor " + p.name + " is missing; the architecture in its config needs it");
  if (tensor_entry const& entry = source.entry(stored_name(source, p.name)); entry.shape != p.shape)
    throw error(source.path().string() + ": tensor " + p.name + " has shape " + shape_text(entry.shape) + ", the config asks for " +
                shape_text(p.shape));
}

bool finite(at::Tensor const& t) {
  // A finite sum proves it in one pass; only an odd one is looked at closely.
  return std::isfinite(t.sum().item<double>()) || at::isfinite(t).all().item<bool>();
}

}  // namespace

pack load_parameters(checkpoint const& source, transformer_config const& config) {
  std::vector<parameter> const wanted = parameters_of(config);
  for (parameter const& p : wanted) check(source, p);
  pack theta;
  theta.reserve(wanted.size());
  for (parameter const& p : wanted) {
    at::Tensor& t = theta.emplace_back(at::empty(p.shape, at::kFloat));
    source.read(stored_name(source, p.name), dtype::f32, bytes_of(t));
    if (!finite(t)) throw error(source.path().string() + ": tensor " + p.name + " holds NaN or infinity; the checkpoint is damaged");
  }
  return theta;
}

void load_part(checkpoint const& source, parameter const& of, std::int64_t first, at::Tensor const& into) {
  check(source, of);
  at::Tensor const read = into.scalar_type() == at::kFloat ? into : at::empty(into.sizes(), at::kFloat);
  source.read_part(stored_name(source, of.name), static_cast<std::size_t>(first), dtype::f32, bytes_of(read));
  if (!read.is_same(into)) into.copy_(read);
  if (!finite(into)) throw error(source.path().string() + ": tensor " + of.name + " holds NaN or infinity; the checkpoint is damaged");
}

pack initial_parameters(transformer_config const& config, double range, std::uint64_t seed) {
  at::Generator random = at::detail::createCPUGenerator(seed);
  pack theta;
  for (parameter const& p : parameters_of(config))
    theta.push_back(p.name.ends_with("bias")                           ? at::zeros(p.shape)
                    : p.shape.size() > 1 || p.name.ends_with("sinks") ? at::empty(p.shape).normal_(0, range, random)
                                                                      : at::full(p.shape, 1 - config.norm_offset));
  return theta;
}

void write_tokenizer(std::filesystem::path const& folder, checkpoint const& source) {
  auto write_json = [&](char const* name, nlohmann::ordered_json const& content) {
    write_file_atomically(folder / name, content.dump(2) + "\n");
  };
  if (!source.tokenizer.is_null()) write_json("tokenizer.json", source.tokenizer);
  if (!source.tokenizer_config.empty()) write_json("tokenizer_config.json", source.tokenizer_config);
  for (auto const& [name, text] : source.chat_templates) write_file_atomically(template_file(folder, name), text);
}

void write_model(std::filesystem::path const& folder, checkpoint const& source, transformer_config const& config, pack const& theta,
                 dtype type) {
  write_model(folder, source, config, [&](std::size_t i) { return theta[i]; }, type);
}

void write_model(std::filesystem::path const& folder, checkpoint const& source, transformer_config const& config,
                 std::function<at::Tensor(std::size_t)> const& parameter, dtype type) {
  bool const wraps = wraps_text_model(source.config);
  std::vector<tensor_plan> plan;
  for (llm::parameter const& p : parameters_of(config)) plan.push_back({wraps ? stored_name(source, p.name) : p.name, type, p.shape});
  std::size_t const own = plan.size();
  // What is around a text model stays as it was.
  if (wraps)
    for (std::string const& name : unread_tensors(source, config)) plan.push_back({name, type, source.entry(name).shape});
  at::Tensor converted;
  write_model_safetensors(folder, plan, [&](std::size_t i) {
    converted = i < own ? parameter(i).to(at::kCPU, scalar_type_of(type)).contiguous() : at::empty(plan[i].shape, scalar_type_of(type));
    if (i >= own) source.read(plan[i].name, type, bytes_of(converted));
    return std::span<std::byte const>(bytes_of(converted));
  });
  write_tokenizer(folder, source);
  if (!source.generation_config.is_null()) write_file_atomically(folder / "generation_config.json", source.generation_config.dump(2) + "\n");
  nlohmann::ordered_json settings = source.config;
  settings[settings.contains("torch_dtype") ? "torch_dtype" : "dtype"] = std::string(torch_name_of(type));
  // The flag that ties the head would be wrong beside one of its own.
  if (!config.tied_embeddings && config.lm_head) {
    if (read_config(source.config, folder.string()).tied_embeddings) settings["tie_word_embeddings"] = false;
    if (wraps && settings["text_config"].contains("tie_word_embeddings")) settings["text_config"]["tie_word_embeddings"] = false;
  }
  write_file_atomically(folder / "config.json", settings.dump(2) + "\n");
}

}  // namespace kedge::llm
