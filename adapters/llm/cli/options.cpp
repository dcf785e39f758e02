// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"

namespace kedge::cli {

void add_compute_options(CLI::App& app, llm::device_settings& c) {
  auto const group = "Computation";
  app.add_option("--dtype", c.dtype, "auto, float32, bfloat16 or float64; auto takes bfloat16 where there are matrix units for it")->capture_default_str()->group(group);
  app.add_option("--device", c.device, "cpu, cuda or cuda:N")->capture_default_str()->group(group);
  app.add_option("--threads", c.threads, "0: all cores")->capture_default_str()->group(group);
  app.add_option("--micro_batch_tokens", c.micro_batch_tokens, "tokens computed at once; bounds memory, changes no result")->capture_default_str()->group(group);
}


namespace {

void add_memory_options(CLI::App& app, llm::device_settings& c) {
  app.add_option("--weights_dtype", c.weights_dtype, "with --dtype bfloat16: auto multiplies by the float32 master weights themselves where the processor does that as fast; bfloat16: by a copy")
      ->check(CLI::IsMember({"auto", "bfloat16"}))->capture_default_str()->group("Computation");
  app.add_option("--gradient_checkpointing", c.gradient_checkpointing,
                 "auto, on or off: keep layers' inputs alone and compute layers again on the way back; auto where memory would not suffice")
      ->capture_default_str()
      ->group("Computation");
  app.add_option("--cuda_graphs", c.cuda_graphs,
                 "auto, on or off: pad batches to few sizes, and record and replay what a GPU does for a size; auto on a GPU")
      ->capture_default_str()
      ->group("Computation");
}

void add_folder_options(CLI::App& app, llm::run_settings& s) {
  app.add_option("--model_name_or_path", s.model, "Hugging Face folder or GGUF file")->required();
  app.add_option("--output_dir", s.output_dir, "where the model, metrics.jsonl and checkpoints go")->required();
  app.add_option("--max_length", s.max_length, "longest prompt + completion in tokens; the end is cut; 0: no limit")->capture_default_str();
  app.add_option("--max_train_samples", s.max_train_samples, "use the first so many lines of a file; 0: all")->capture_default_str();
  app.add_option("--max_eval_samples", s.max_eval_samples, "the same for held-out data")->capture_default_str();
  app.add_flag("--skip_bad_lines", s.skip_bad_lines, "go on after lines that can't be used, and count them");
  app.add_flag("--overwrite_output_dir", s.overwrite_output_dir, "replace what an earlier run left there");
}

void add_pair_options(CLI::App& app, llm::training_settings& s) {
  app.add_option("--dataset,--data", s.dataset, "JSONL of preference pairs: prompt, chosen, rejected")->required();
  app.add_option("--eval_dataset", s.eval_dataset, "held-out pairs, evaluated before, between and after rounds");
  app.add_option("--min_score_gap", s.min_score_gap, "keep training pairs whose scores differ at least so much; 0: all")->capture_default_str();
  app.add_option("--eval_min_score_gap", s.eval_min_score_gap, "the same for held-out pairs")->capture_default_str();
  app.add_option("--precision_pairs", s.precision_pairs, "in bfloat16: measure on so many pairs at most what rounding does to margins; 0: don't")->capture_default_str();
}

void add_optimizer_options(CLI::App& app, llm::run_settings& s) {
  auto const group = "Optimization";
  app.add_option("--learning_rate", s.learning_rate, "peak of the schedule")->capture_default_str()->group(group);
  app.add_option("--lr_scheduler_type", s.lr_scheduler_type, "linear, cosine, constant or constant_with_warmup")->capture_default_str()->group(group);
  app.add_option("--warmup_ratio", s.warmup_ratio, "share of a round's steps")->capture_default_str()->group(group);
  app.add_option("--warmup_steps", s.warmup_steps, "wins over the ratio if positive")->capture_default_str()->group(group);
  app.add_option("--num_train_epochs", s.num_train_epochs, "passes over a round's examples")->capture_default_str()->group(group);
  app.add_option("--max_steps", s.max_steps, "steps of a round; 0: as the epochs say")->capture_default_str()->group(group);
  app.add_option("--per_device_train_batch_size", s.per_device_train_batch_size, "examples")->capture_default_str()->group(group);
  app.add_option("--gradient_accumulation_steps", s.gradient_accumulation_steps, "batches to a step")->capture_default_str()->group(group);
  app.add_option("--per_device_eval_batch_size", s.per_device_eval_batch_size, "examples")->capture_default_str()->group(group);
  app.add_option("--max_grad_norm", s.max_grad_norm, "0: no clipping")->capture_default_str()->group(group);
  app.add_option("--weight_decay", s.weight_decay, "AdamW's, of matrices")->capture_default_str()->group(group);
  app.add_option("--adam_beta1", s.adam_beta1)->capture_default_str()->group(group);
  app.add_option("--adam_beta2", s.adam_beta2)->capture_default_str()->group(group);
  app.add_option("--adam_epsilon", s.adam_epsilon)->capture_default_str()->group(group);
  app.add_option("--optim", s.optim, "AdamW with moments in fp32 (adamw_torch_fused), bf16 (adamw_bf16) or 8 bits (adamw_8bit)")
      ->check(CLI::IsMember({"adamw_torch_fused", "adamw_torch", "adamw_bf16", "adamw_8bit", "adamw_bnb_8bit", "adamw_torch_8bit"}))->capture_default_str()->group(group);
  app.add_option("--seed", s.seed, "of every shuffle")->capture_default_str()->group(group);
  app.add_flag("--no_shuffle{false}", s.shuffle, "train on the examples in file order")->group(group);
}

void add_loss_options(CLI::App& app, llm::loss_settings& l) {
  auto const group = "Loss";
  app.add_option("--beta", l.beta, "weight of the reference")->capture_default_str()->group(group);
  app.add_option("--loss_type", l.loss_type, "one, or several for a mixture; TRL's names and the papers'")->capture_default_str()->group(group);
  app.add_option("--loss_weights", l.loss_weights, "one a loss")->group(group);
  app.add_option("--label_smoothing", l.label_smoothing, "share of labels taken to be wrong")->group(group);
  app.add_option("--f_divergence_type", l.f_divergence_type, "reverse_kl, forward_kl, js_divergence or alpha_divergence")->capture_default_str()->group(group);
  app.add_option("--f_alpha_divergence_coef", l.f_alpha_divergence_coef)->capture_default_str()->group(group);
  app.add_option("--discopop_tau", l.discopop_tau)->capture_default_str()->group(group);
  app.add_option("--simpo_gamma", l.simpo_gamma, "target margin of simpo, alpha_po, alpha_dpo")->capture_default_str()->group(group);
  app.add_option("--cpo_alpha", l.cpo_alpha, "weight of the SFT term in cpo, simpo, alpha_po")->capture_default_str()->group(group);
}

void add_progress_options(CLI::App& app, llm::run_settings& s) {
  auto const group = "Run";
  app.add_option("--logging_steps", s.logging_steps, "steps averaged in one line of metrics.jsonl")->capture_default_str()->group(group);
  app.add_option("--save_steps", s.save_steps, "steps between checkpoints; 0: only when interrupted")->capture_default_str()->group(group);
  app.add_option("--save_total_limit", s.save_total_limit, "checkpoints kept, the newest; 0: all")->capture_default_str()->group(group);
  app.add_option("--save_dtype", s.save_dtype, "of the written weights: float32, bfloat16 or float16")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}))->capture_default_str()->group(group);
  app.add_option("--resume_from_checkpoint", s.resume_from_checkpoint, "a folder checkpoints/step-N, or latest")->group(group);
  app.add_flag("--profile", s.profile, "tell at the end where the steps' time went, and which share of the machine's matrix rate they reached")->group(group);
  app.add_option("--profile_trace", s.profile_trace, "file for a trace of all tensor operations, as chrome://tracing and Perfetto read it")->group(group);
  app.add_option("--ddp_timeout", s.ddp_timeout, "seconds that one of several processes waits for the others (torchrun --no-python)")->capture_default_str()->group(group);
  app.add_flag("--quiet", s.quiet, "nothing on stderr but errors")->group(group);
}

}  // namespace

void add_run_options(CLI::App& app, llm::run_settings& s) {
  add_folder_options(app, s);
  add_optimizer_options(app, s);
  add_progress_options(app, s);
  add_compute_options(app, s.compute);
  add_memory_options(app, s.compute);
}

void add_sampling_options(CLI::App& app, llm::on_policy_settings& s) {
  auto const group = "Sampling";
  app.add_option("--prompts", s.prompts, "JSONL with the key prompt, sampled from while training")->group(group);
  auto* const judge = app.add_option("--judge", s.judge, "program that reads {\"prompt\", \"completion\"} a line and answers {\"score\"} a line")->group(group);
  app.add_option("--judge_timeout", s.judge_timeout, "seconds for one answer")->capture_default_str()->group(group);
  app.add_option("--reward_model", s.reward_model, "folder of a reward model, instead of a judge")->excludes(judge)->group(group);
  app.add_option("--max_new_tokens,--response_length", s.max_new_tokens, "longest completion")->capture_default_str()->group(group);
  app.add_option("--temperature", s.temperature, "of sampling; the policy that is trained is the one at this temperature")->capture_default_str()->group(group);
  app.add_option("--top_p", s.top_p)->capture_default_str()->group(group);
  app.add_option("--top_k", s.top_k, "0: off")->capture_default_str()->group(group);
  app.add_option("--generation_batch_size", s.generation_batch_size, "completions decoded at once")->capture_default_str()->group(group);
  app.add_option("--eval_prompts", s.eval_prompts, "held-out prompts: reward, KL to the start, wins against it, length")->group(group);
  app.add_option("--eval_samples", s.eval_samples, "completions of each of them")->capture_default_str()->group(group);
}

void add_online_options(CLI::App& app, llm::round_settings& r) {
  add_sampling_options(app, r.sampling);
  auto const group = "Sampling";
  app.add_option("--num_samples", r.num_samples, "completions of a prompt")->capture_default_str()->group(group);
  app.add_option("--prompts_per_round", r.prompts_per_round, "0: all")->capture_default_str()->group(group);
  app.add_option("--pairing", r.pairing, "best-worst, or all that differ in score")->check(CLI::IsMember({"best-worst", "all"}))->capture_default_str()->group(group);
  app.add_option("--sample_from", r.sample_from, "weights: the extrapolated model; mixture: (1 + alpha) log new - alpha log old, token by token")
      ->check(CLI::IsMember({"weights", "mixture"}))->capture_default_str()->group(group);
}

void add_lora_options(CLI::App& app, llm::run_settings& s) {
  auto const group = "LoRA";
  auto* const use = app.add_flag("--use_peft", s.use_peft, "train a low-rank adapter; the model itself stays as it is, and is the reference of the first round")->group(group);
  app.add_option("--lora_r", s.lora.rank, "rank of the adapter")->capture_default_str()->needs(use)->group(group);
  app.add_option("--lora_alpha", s.lora.alpha, "the adapter is multiplied by alpha / r")->capture_default_str()->needs(use)->group(group);
  app.add_option("--lora_target_modules", s.lora.target_modules, "q_proj v_proj …, or all-linear; unset: q_proj and v_proj, qkv_proj where they are one")->needs(use)->group(group);
  app.add_flag("--use_rslora", s.lora.rslora, "multiply by alpha / sqrt(r)")->needs(use)->group(group);
  app.add_option("--lora_dropout", "0, the one there is: how a batch is cut must not change a step")
      ->check([](std::string const& text) {
        double rate = 1;
        return CLI::detail::lexical_cast(text, rate) && rate == 0
                   ? std::string()
                   : "dropout is not supported, since the reference would be another model and results would depend on how a batch is cut; leave it at 0";
      })
      ->needs(use)->group(group);
}

void add_training_options(CLI::App& app, llm::training_settings& s) {
  add_pair_options(app, s);
  add_loss_options(app, s.loss);
  add_lora_options(app, s);
  add_run_options(app, s);
}

}  // namespace kedge::cli
