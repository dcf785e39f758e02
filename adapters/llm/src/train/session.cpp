// SPDX-License-Identifier: Apache-2.0
#include "session.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <numeric>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/model/sampling_settings.hpp>
#include <kedge/llm/model/weights.hpp>

#include "../base/thread_pool.hpp"
#include "../model/base_plan.hpp"
#include "../model/stored_tensors.hpp"
#include "../scale/divided_pack.hpp"
#include "available_memory.hpp"
#include "computation.hpp"
#include "opened_device.hpp"

namespace kedge::llm {
namespace {

void tell(screen const& to, std::filesystem::path const& file, reading_report const& report) {
  if (report.skipped > 0) to.say(file.string() + ": " + std::to_string(report.skipped) + " lines skipped that could not be used");
  for (std::string const& note : report.notes) to.say(file.string() + ": " + note);
}

}  // namespace

session::session(std::filesystem::path const& path, device_settings const& device, screen tells)
    : session(path, is_adapter(path) ? std::optional<peft_adapter>(std::in_place, path) : std::nullopt, device, tells) {}

session::session(std::filesystem::path const& path, std::optional<peft_adapter> files, device_settings const& device, screen tells)
    : session(files ? open_base(*files) : checkpoint::open(path), device, tells) {
  adapter = std::move(files);
  if (adapter && !adapter->unknown_keys().empty())
    tells_.say((adapter->folder() / "adapter_config.json").string() + ": unknown keys, which change nothing: " + adapter->unknown_keys());
}

session::session(checkpoint opened, device_settings const& device, screen tells)
    : source(std::move(opened)),
      config(read_config(source)),
      tokens(open_tokenizer(source, config.vocabulary)),
      compute(computation_on(opened_device(device.device), device, config)),
      tells_(tells) {
  for (std::string const& note : source.notes) tells_.say(note);
  tokens_at_once at_once = device.micro_batch_tokens;
  at_once.settle(fit_scoring(compute, config, available_memory(compute.device)));
  scored_at_once = at_once;
  bool const tf32 = uses_tf32(device, compute);
  if (compute.device.is_cuda()) at::globalContext().setAllowTF32CuBLAS(tf32);
  if (device.tf32 == when::on && !tf32) tells_.say("--tf32 changes nothing: products in TF32 are a GPU's");
  chat = open_chat_template(source);
  for (std::string const& note : source.notes) tells_.say(source.path().string() + ": " + note);
  if (std::string const unread = tell_unread(unread_tensors(source, config)); !unread.empty() && !wraps_text_model(source.config))
    tells_.say(source.path().string() + ": " + unread);
  if (device.threads > 0) {
    at::set_num_threads(device.threads);
    use_threads(static_cast<unsigned>(device.threads));
  }
}

std::vector<preference_pair> session::read_pairs(std::filesystem::path const& file, reading how, std::size_t max_length, llm::truncation_mode truncation,
                                                 line_reader const& look, pair_filter const& keep) const {
  reading_report report;
  how.positions = config.max_positions;
  pair_encoder const encoder(tokens, chat ? &*chat : nullptr, special_tokens(source.tokenizer_config), max_length, truncation);
  std::vector<preference_pair> pairs = llm::read_pairs(file, encoder, how, &report, look, keep);
  tell(tells_, file, report);
  if (pairs.empty() && !keep) throw error(file.string() + ": no preference pairs in it");
  return pairs;
}

encoded_prompts session::read_prompts(std::filesystem::path const& file, reading how) const {
  reading_report report;
  how.positions = config.generation_positions();
  encoded_prompts out;
  for (encoded_prompt& one : read_encoded_prompts(file, encoder(), how, &report)) {
    out.ids.push_back(std::move(one.ids));
    out.examples.push_back(std::move(one.example));
  }
  tell(tells_, file, report);
  if (out.ids.empty()) throw error(file.string() + ": no prompts in it");
  return out;
}

std::vector<std::int32_t> session::stop_tokens() const { return stop_tokens_of(source.config, source.generation_config, source.path().string()); }

conversation_encoder session::encoder() const { return {tokens, chat ? &*chat : nullptr, special_tokens(source.tokenizer_config)}; }

std::vector<demonstration_ids> session::read_demonstrations(std::filesystem::path const& file, reading how, demonstration_rules const& rules) const {
  reading_report report;
  how.positions = config.max_positions;
  std::vector<demonstration_ids> encoded = read_encoded_demonstrations(file, encoder(), rules, how, &report);
  tell(tells_, file, report);
  if (encoded.empty()) throw error(file.string() + ": no demonstrations in it");
  return encoded;
}

std::vector<unpaired_ids> session::read_unpaired(std::filesystem::path const& file, reading how, std::size_t max_length) const {
  reading_report report;
  how.positions = config.max_positions;
  std::vector<unpaired_ids> encoded = llm::read_unpaired(file, encoder(), how, max_length, &report);
  tell(tells_, file, report);
  if (encoded.empty()) throw error(file.string() + ": no completions in it");
  return encoded;
}

pack session::load_on_host() const { return adapter ? load_merged(source, config, *adapter) : load_parameters(source, config); }

pack session::load() const { return master_weights(load_on_host(), compute); }

plan_settings plan_of(run_settings const& settings, compute_settings const& compute, held_besides const& held) {
  return {.lora = settings.use_peft ? std::optional(settings.lora) : std::nullopt,
          .optimizer = settings.optim.bytes(),
          .word = static_cast<std::int64_t>(at::elementSize(compute.type)),
          .reads_masters = compute.fp32_weights,
          .processes = static_cast<std::int64_t>(settings.where.size),
          .divided = settings.fsdp.what,
          .points = held.points,
          .models = held.models};
}

plan_settings session::plan(run_settings const& settings, compute_settings const& own, held_besides const& held) const {
  plan_settings plan = plan_of(settings, own, held);
  if (!plan.lora) return plan;
  plan.lora = trained_adapter(settings);
  plan.frozen_bytes = bytes_of(plan_base(source, config, *plan.lora, settled(settings.base, source, own.device.is_cpu()), plan.word));
  return plan;
}

lora_settings session::trained_adapter(run_settings const& settings) const {
  if (!adapter) return settings.lora;
  lora_settings own = settings_of(*adapter);
  if (settings.lora != lora_settings() && settings.lora != own)
    throw error(adapter->folder().string() + " is an adapter, which is trained on as it is: leave the settings of LoRA out, or merge it first (kedge merge) and train another on the result");
  return own;
}

compute_settings session::training_compute(run_settings& settings, held_besides const& held, process_group const& group) const {
  compute_settings own = compute;
  if (!settings.base.load_in_4bit && (settings.base.double_quant || settings.base.quant_type != four_bit_type::nf4))
    tells_.say("--bnb_4bit_quant_type and --bnb_4bit_use_double_quant change nothing without --load_in_4bit");
  own.fp32_weights = settings.compute.weights_dtype == weights_type::automatic && !settings.use_peft && compute.type == at::kBFloat16 && compute.device.is_cpu() && fast_fp32_products();
  fitted_tokens const fitted = fit_training(own, config, plan(settings, own, held), settings, available_memory(compute.device), held.longest);
  for (std::string const* line : {&fitted.plan, &fitted.note})
    if (!line->empty()) tells_.say(*line);
  settle(settings, fitted.at_once, group);
  return own;
}

causal_lm session::trained_model(run_settings& settings, held_besides const& held, process_group const& group) const {
  compute_settings const own = training_compute(settings, held, group);  // before anything is loaded: it looks at the free memory
  if (!settings.use_peft) {
    causal_lm model(config, own);
    divide(model, settings, group);
    if (settings.fsdp.what != division::none && group.alone()) settings.says().say("--fsdp: there is one process, which divides nothing");
    return model;
  }
  if (settings.fsdp.what != division::none)
    settings.says().say("--fsdp: an adapter is small, and its optimizer's state alone is divided; the frozen model is whole in each process");
  if (adapter && adapter->config().value("lora_dropout", nlohmann::ordered_json(0)) != 0)
    tells_.say((adapter->folder() / "adapter_config.json").string() + ": lora_dropout is not used: training goes on without dropout");
  lora_settings const lora = trained_adapter(settings);
  return {config, own, lora, frozen(settings, config, own, lora)};
}

base_weights session::frozen(run_settings const& settings, transformer_config const& of, compute_settings const& own, lora_settings const& lora) const {
  std::vector<std::string> told;
  base_weights base = load_frozen(source, of, own, lora, settings.base, &told);
  for (std::string const& line : told) settings.says().say(line);
  return base;
}

void session::refuse_adapter() const {
  if (adapter) throw error(adapter->folder().string() + " is an adapter itself; merge it first (kedge merge), then train another on the result");
}

void session::divide(causal_lm& model, run_settings const& settings, process_group const& group) const {
  if (!model.adapted()) llm::divide(model, group, settings.fsdp.what);
}

pack session::load(causal_lm const& model, at::Tensor const& score) const {
  auto const division = division_of(model);
  bool const divided = division && division->divides_weights();
  if (divided && !adapter) return load_own(source, *division, compute, score);
  transformer_config read = model.config();
  if (score.defined()) read.scalar_head = false;
  pack theta = adapter ? load_merged(source, read, *adapter) : load_parameters(source, read);
  if (score.defined()) theta.push_back(score);
  theta = master_weights(std::move(theta), compute);
  return divided ? divided_pack(model).known(division->cut(theta)) : theta;
}

pack load_own(checkpoint const& source, divided_model const& division, compute_settings const& compute, at::Tensor const& score) {
  at::ScalarType const type = compute.type == at::kDouble ? at::kDouble : at::kFloat;
  pack const own = division.zeros(at::TensorOptions(type));
  std::size_t const read = own.size() - (score.defined() ? 1 : 0);
  for (std::size_t i = 0; i < own.size(); ++i) {
    tensor_part const& part = division.parts()[i];
    if (i < read)
      load_part(source, division.names()[i], part.begin, own[i]);
    else
      own[i].copy_(score.contiguous().view({-1}).narrow(0, part.begin, part.size));
  }
  return division.weights_for(own, compute.device, type);
}

pack session::trained_start(causal_lm const& model, std::uint64_t seed) const {
  if (!model.adapted()) return load(model);
  return master_weights(adapter ? read_adapter(*adapter, model) : initial_adapter(model, seed), compute);
}

void session::write_trained(causal_lm const& model, pack const& theta, run_settings const& settings) const {
  dtype const type = stored(settings.save_dtype);
  if (model.adapted())
    write_adapter(settings.output_dir, source, model, theta, type);
  else if (auto const division = division_of(model); division && division->divides_weights())
    write_model(settings.output_dir, source, config, [&](std::size_t i) { return division->whole(theta, i); }, type);
  else
    write_model(settings.output_dir, source, config, theta, type);
}

compute_settings in_fp32(compute_settings compute) {
  compute.type = at::kFloat;
  return compute;
}

pack master_weights(pack theta, compute_settings const& compute) {
  for (at::Tensor& t : theta) t = t.to(compute.device, compute.type == at::kDouble ? at::kDouble : at::kFloat);
  return theta;
}

pair_log_probs score_in_order(causal_lm const& model, pack const& weights, std::vector<preference_pair> const& pairs, std::size_t batch,
                              std::size_t micro_batch_tokens, process_group const& group, std::optional<double> ld_alpha, token_figures* figures) {
  std::vector<std::size_t> order(pairs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::vector<std::size_t> const mine = own_share(group, pairs, order);
  pair_log_probs all{std::vector<double>(pairs.size()), std::vector<double>(pairs.size())};
  std::optional<token_counter> tokens;
  if (figures != nullptr) tokens.emplace(pairs, order, pairs.size());
  for (std::size_t first = 0; first < mine.size(); first += batch)
    score_each(model, weights, pairs, cut_micro_batches(pairs, std::span(mine).subspan(first, std::min(batch, mine.size() - first)), micro_batch_tokens), all,
               ld_alpha, tokens ? &*tokens : nullptr);
  if (tokens) (*figures = tokens->figures()).sum_over(group);
  group.sum(all.chosen);
  group.sum(all.rejected);
  return all;
}

}  // namespace kedge::llm
