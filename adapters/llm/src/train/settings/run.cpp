// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/hub/model_setting.hpp>
#include <kedge/llm/train/run_settings.hpp>

namespace kedge::llm {

resume_point::resume_point(std::string_view text) {
  newest = text == "latest" || text == "true" || text == "True";  // transformers' form of "the newest"
  if (!newest) folder = text;
}

nlohmann::ordered_json setting_type<resume_point>::write(resume_point const& value) {
  if (value.newest) return "latest";
  return setting_type<std::filesystem::path>::write(value.folder);
}

nlohmann::ordered_json setting_type<lr_scheduler_kwargs>::write(lr_scheduler_kwargs const& value) {
  return value == lr_scheduler_kwargs() ? nlohmann::ordered_json() : nlohmann::ordered_json(as_json(value).dump());
}

nlohmann::ordered_json setting_type<module_numbers>::write(module_numbers const& value) {
  return value.rows.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(as_json(value).dump());
}

std::string setting_type<optimizer_choice>::form(number_range const&) {
  std::string names;
  for (optimizer_name const& one : optimizer_names()) names += (names.empty() ? "" : ", ") + std::string(one.name);
  return names;
}

namespace {

std::string described_optimizers() {
  std::string text;
  for (optimizer_name const& one : optimizer_names()) text += (text.empty() ? "" : "; ") + std::string(one.name) + ": " + std::string(one.help);
  return text;
}

void declare_files(settings_list& list, run_settings& s) {
  list.group("");
  list.add(model_setting("model_name_or_path", s.model, "Hugging Face folder or GGUF file")).required().resumes(on_resume::content);
  list.add("output_dir", s.output_dir, "where the model, metrics.jsonl and checkpoints go").resumes(on_resume::free);
  list.add("max_length", s.max_length, "longest prompt + completion in tokens; what is longer is cut; 0, -1 or none: no limit").also("-1", "0").also("none", "0");
  list.add("truncation_mode", s.truncation_mode, "which end of a sequence longer than max_length stays");
  list.add("dataset_format", s.dataset_format, "how the lines of data sets are written; auto: by the keys of the first, where they leave no choice")
      .resumes(on_resume::content);
  list.add("ranked_pairs", s.ranked_pairs, "which ranked or rated completions of a prompt make pairs").resumes(on_resume::content);
  list.add("max_train_samples", s.max_train_samples, "use the first so many examples of a file, and read no further; 0 or -1: all").also("-1", "0");
  list.add("max_eval_samples", s.max_eval_samples, "the same for held-out data; 0 or -1: all").also("-1", "0");
  list.add("skip_bad_lines", s.skip_bad_lines, "go on after lines that can't be used, and count them").resumes(on_resume::free);
  list.add("overwrite_output_dir", s.overwrite_output_dir, "replace what an earlier run left there").resumes(on_resume::free);
}

void declare_optimization(settings_list& list, run_settings& s) {
  list.group("Optimization");
  list.add("learning_rate", s.learning_rate, "peak of the schedule").at_most(1e6);
  list.add("lr_scheduler_type", s.lr_scheduler_type, "course of the learning rate over a round");
  list.add("warmup_ratio", s.warmup_ratio, "share of a round's steps in which the learning rate rises").at_most(1);
  list.add("lr_scheduler_kwargs", s.lr_kwargs,
           "a JSON object: num_cycles (cosine …), lr_end and power (polynomial), timescale (inverse_sqrt), min_lr or min_lr_rate (cosine_with_min_lr)");
  list.add("warmup_steps", s.warmup_steps, "steps of it; wins over the ratio if positive; below 1: a share of the steps");
  list.add("num_train_epochs", s.num_train_epochs, "passes over a round's examples").alias("epochs").above(0).at_most(1e6);
  list.add("max_steps", s.max_steps, "steps of a round; 0 or -1: as the epochs say").also("-1", "0");
  // What a step sees is their product over all processes, which a resumed run shares (see run_identity).
  list.add("per_device_train_batch_size", s.per_device_train_batch_size, "examples").at_least(1).at_most(1 << 20).resumes(on_resume::free);
  list.add("gradient_accumulation_steps", s.gradient_accumulation_steps, "batches to a step; changes no result").at_least(1).at_most(1 << 20).resumes(on_resume::free);
  list.add("per_device_eval_batch_size", s.per_device_eval_batch_size, "examples").at_least(1).at_most(1 << 20);
  list.add("max_grad_norm", s.max_grad_norm, "a longer gradient is shortened to it; 0: no clipping");
  list.add("weight_decay", s.weight_decay, "of matrices");
  list.add("adam_beta1", s.adam_beta1, "decay of the first moments").below(1);
  list.add("adam_beta2", s.adam_beta2, "decay of the second moments").below(1);
  list.add("adam_epsilon", s.adam_epsilon, "added to the root of the second moments");
  list.add("optim", s.optim, described_optimizers());
  list.add("paged_dir", s.paged_dir, "folder for the file of a paged optimizer's state, which has no name there and is gone at the end; none: output_dir")
      .otherwise("none")
      .resumes(on_resume::free);
  list.add("seed", s.seed, "of every shuffle").at_most(1.8446744073709552e19);
  list.add("shuffle", s.shuffle, "train on the examples in an order drawn by the seed; false: in that of the file");
}

void declare_adapter(settings_list& list, run_settings& s) {
  list.group("LoRA");
  list.add("use_peft", s.use_peft, "train a low-rank adapter; the model itself stays as it is, and is the reference of the first round");
  list.add("lora_r", s.lora.rank, "rank of the adapter").at_least(1).at_most(1 << 16).needs("use_peft");
  list.add("lora_alpha", s.lora.alpha, "the adapter's product is multiplied by alpha / r").above(0).needs("use_peft");
  list.add("lora_target_modules", s.lora.target_modules,
           "all-linear; or modules by the end of their names, q_proj self_attn.v_proj lm_head embed_tokens …; or one regular expression of whole names; none: q_proj and "
           "v_proj, qkv_proj where they are one").needs("use_peft").otherwise("none");
  list.add("lora_exclude_modules", s.lora.exclude_modules, "modules that get no adapter, named like targets").needs("use_peft").otherwise("none");
  list.add("lora_layers_to_transform", s.lora.layers_to_transform, "layers that get one, from 0; none: all").needs("use_peft").otherwise("none");
  list.add("lora_target_parameters", s.lora.target_parameters,
           "stacked weights of experts that get one: mlp.experts.gate_up_proj mlp.experts.down_proj").needs("use_peft").otherwise("none");
  list.add("lora_modules_to_save", s.lora.modules_to_save,
           "modules that are trained whole and written with the adapter: embed_tokens lm_head norm …; any whose name ends so").needs("use_peft").otherwise("none");
  list.add("lora_rank_pattern", s.lora.rank_pattern, "ranks of some modules, {\"layers.0.self_attn.q_proj\": 4}; a key is a regular expression of a name, or of its end").needs("use_peft");
  list.add("lora_alpha_pattern", s.lora.alpha_pattern, "the same for alpha").needs("use_peft");
  list.add("use_rslora", s.lora.rslora, "multiply by alpha / sqrt(r)").needs("use_peft");
  list.add("use_dora", s.lora.dora, "DoRA: the adapter turns the rows of a map, and their lengths are trained apart").needs("use_peft");
  list.add("lora_bias", s.lora.bias_of_b, "B has a bias").needs("use_peft");
  list.add("lora_train_bias", s.lora.biases, "biases of the model that are trained as well; lora_only: those of adapted maps").needs("use_peft");
  list.add("lora_dropout", s.lora.dropout,
           "0, the one there is: with dropout the reference would be another model, and a step would depend on how its batch is cut").at_most(0).needs("use_peft");
  list.add("base_weights", s.base.storage, "the frozen weights: as the file has them, quantised or not, mapped and not copied; or dequantised into --dtype")
      .needs("use_peft");
  list.add("load_in_8bit", s.base.load_in_8bit, "quantise the layers' maps of the frozen model: rows of int8 with a scale each, as LLM.int8 stores them").needs("use_peft");
  list.add("load_in_4bit", s.base.load_in_4bit, "quantise them in 4 bits, 64 numbers with a scale, as QLoRA does").needs("use_peft");
  list.add("bnb_4bit_quant_type", s.base.quant_type, "what the 4 bits of --load_in_4bit stand for");
  list.add("bnb_4bit_use_double_quant", s.base.double_quant, "the scales of --load_in_4bit in 8 bits: 4.13 bits a weight instead of 4.5");
}

void declare_progress(settings_list& list, run_settings& s) {
  list.group("Run");
  list.add("logging_steps", s.logging_steps, "steps averaged in one line of metrics.jsonl; below 1: a share of the run's steps").above(0).resumes(on_resume::free);
  list.add("save_strategy", s.save_strategy, "when checkpoints are written; no: only when interrupted; best: where an evaluation is the best so far").resumes(on_resume::free);
  list.add("save_steps", s.save_steps, "steps between checkpoints; below 1: a share of the run's steps; 0: only when interrupted").resumes(on_resume::free);
  list.add("save_total_limit", s.save_total_limit, "checkpoints kept, the newest and the best; 0, -1 or none: all").also("-1", "0").also("none", "0").resumes(on_resume::free);
  list.add("save_dtype", s.save_dtype, "of the written weights; narrower types round small updates away");
  list.add("resume_from_checkpoint", s.resume_from_checkpoint, "where a stopped run goes on").bare("latest").resumes(on_resume::free);
  list.add("report_to", s.report_to, "tensorboard or all: event files in runs/ of the folder; none: not these").also("none", "none").resumes(on_resume::free);
  list.add("profile", s.profile, "tell at the end where the steps' time went, and which share of the machine's matrix rate they reached").resumes(on_resume::free);
  list.add("profile_trace", s.profile_trace, "file for a trace of all tensor operations, as chrome://tracing and Perfetto read it").resumes(on_resume::free);
  list.add("fsdp", s.fsdp, "what several processes divide beside the optimizer's state: shard_grad_op: gradients; full_shard: weights too, gathered layer by layer")
      .bare("full_shard").resumes(on_resume::free);
  declare_company(list, s.ddp_timeout);
  list.add("quiet", s.quiet, "nothing on stderr but errors").resumes(on_resume::free);
}

}  // namespace

void declare_company(settings_list& list, std::size_t& ddp_timeout) {
  list.add("ddp_timeout", ddp_timeout, "seconds that one of several processes waits for the others (torchrun --no-python)").at_least(1).resumes(on_resume::free);
}

void declare_router(settings_list& list, std::optional<double>& coefficient) {
  list.add("router_aux_loss_coef", coefficient,
           "of mixtures of experts: weight of the loss that evens out how often each is chosen, over the tokens of a step; 0: not added; none: router_aux_loss_coef "
           "of the model's config.json");
}

void declare(settings_list& list, evaluation_settings& s) {
  list.group("Evaluation");
  list.add("eval_strategy", s.eval_strategy, "when held-out data are measured while training; no: before, between rounds and after alone");
  list.add("eval_steps", s.eval_steps, "steps from one evaluation to the next; below 1: a share of the run's steps; 0 or none: as many as --logging_steps").also("none", "0");
  list.add("eval_delay", s.eval_delay, "steps, or epochs, to wait before the first of these evaluations").also("none", "0");
  list.add("load_best_model_at_end", s.load_best_model_at_end, "write the model of the checkpoint whose evaluation was best, not the last one");
  list.add("metric_for_best_model", s.metric_for_best_model, "figure of an evaluation that says which is best, with or without eval_; none: loss");
  list.add("greater_is_better", s.greater_is_better, "the best is the largest; none: unless the figure's name ends with loss");
  list.add("early_stopping_patience", s.early_stopping_patience, "stop after so many evaluations in a row that are no better than the best; 0 or none: never").also("none", "0");
  list.add("early_stopping_threshold", s.early_stopping_threshold, "better is by more than this").needs("early_stopping_patience");
}

void declare(settings_list& list, run_settings& s) {
  declare_files(list, s);
  declare_optimization(list, s);
  declare_adapter(list, s);
  declare(list, static_cast<evaluation_settings&>(s));
  declare_progress(list, s);
  declare_training(list, s.compute);
}

}  // namespace kedge::llm
