// SPDX-License-Identifier: Apache-2.0
#include "trl_flags.hpp"

#include <algorithm>
#include <cstdio>

#include <kedge/llm/base/setting.hpp>

namespace kedge::cli {
namespace {

constexpr trl_form truth = trl_form::truth, one = trl_form::one, many = trl_form::many;
constexpr trl_fate mapped = trl_fate::mapped, idle = trl_fate::idle, refused = trl_fate::refused;

// clang-format off
std::vector<trl_flag> table() {
  return {
    // Data
    {"dataset_name", one, {{"*", mapped, "prompts={}"}}, "ppo salsa"},
    {"dataset_train_split", one, {{"train", idle, ""}, {"*", refused, "a file has no splits; give the file of the one that you want, --prompts FILE"}}, "ppo salsa"},
    {"dataset_test_split", one, {{"*", idle, "--eval_prompts FILE says what is held out"}}, "ppo salsa"},
    {"dataset_config", one, {{"none|default", idle, ""}, {"*", refused, "a file has no configurations; give the file of the one that you want, --prompts FILE"}}, "ppo salsa"},
    {"dataset_streaming", truth, {{"false", idle, ""}, {"*", idle, "the file is read once, before training"}}},
    {"streaming", truth, {{"false", idle, ""}, {"*", idle, "the file is read once, before training"}}},
    {"datasets", many, {{"none", idle, ""}, {"*", refused, "mixtures of data sets are not made here; put their lines into one file (cat A B | kedge shuffle) and give it, --dataset FILE"}}},
    {"test_split_size", one, {{"none", idle, ""}, {"*", refused, "nothing is split off; give held-out lines as a file, --eval_dataset FILE"}}},
    {"dataset_num_proc", one, {{"*", idle, "--threads says how many threads read data"}}},
    {"dataset_batch_size", one, {{"*", idle, "lines are read as they come"}}},
    {"dataset_text_field", one, {{"text", idle, ""}, {"*", refused, "the text stands under the key text; rename the column"}}},
    {"dataset_kwargs", one, {{"none|{}", idle, ""}, {"*", refused, "data are always prepared from prompt and completion, messages or text; leave it out"}}},
    {"remove_unused_columns", truth, {{"*", idle, "columns that are not read are passed over"}}},
    {"label_names", many, {{"*", idle, "what is learned is known from the data's keys"}}},
    {"length_column_name", one, {{"*", idle, "lengths are counted"}}},
    {"truncation_mode", one, {{"keep_start", idle, ""}, {"*", refused, "nothing is cut: pairs longer than --max_length are left out"}}, "reward"},
    {"truncation_mode", one, {{"keep_start", idle, ""}, {"*", refused, "prompts are never cut; --max_new_tokens bounds completions"}}, "ppo salsa"},
    {"max_prompt_length", one, {{"none", idle, ""}, {"*", refused, "no limit for prompts alone; --max_length with --truncation_mode keep_end cuts prompts first"}}},
    {"max_completion_length", one, {{"none", idle, ""}, {"*", refused, "no limit for completions alone; --max_length cuts the end of prompt + completion"}}},
    {"max_seq_length", one, {{"*", mapped, "max_length={}"}}},
    {"max_length", one, {{"none", idle, ""}, {"*", refused, "prompts are never cut; --max_new_tokens bounds completions"}}, "ppo salsa"},
    {"shuffle_dataset", truth, {{"*", idle, "--shuffle says whether the order is drawn by the seed"}}},
    {"train_sampling_strategy", one, {{"random", mapped, "shuffle=true"}, {"sequential", mapped, "shuffle=false"}, {"*", refused, "batches are not made by length: nothing is padded, so there is nothing to save; use random or sequential"}}},
    {"group_by_length", truth, {{"false", idle, ""}, {"*", refused, "batches are not made by length: nothing is padded, so there is nothing to save; leave it out"}}},
    {"packing", truth, {{"false", idle, ""}, {"*", idle, "nothing is padded, so there is nothing to pack; a step has --per_device_train_batch_size examples still"}}},
    {"eval_packing", truth, {{"*", idle, "nothing is padded, so there is nothing to pack"}}},
    {"packing_strategy", one, {{"*", idle, "nothing is padded, so there is nothing to pack"}}},
    {"padding_free", truth, {{"*", idle, "nothing is ever padded"}}},
    {"pad_to_multiple_of", one, {{"*", idle, "nothing is ever padded"}}},
    {"pad_token", one, {{"none", idle, ""}, {"*", refused, "a reward model is written with its tokenizer's pad token; set it in tokenizer_config.json"}}, "reward"},
    {"pad_token", one, {{"*", idle, "nothing is ever padded"}}},
    {"padding_value", one, {{"*", idle, "nothing is ever padded"}}},
    {"label_pad_token_id", one, {{"*", idle, "nothing is ever padded"}}},
    {"chat_template_path", one, {{"none", idle, ""}, {"*", refused, "the template is the model's own; put it into the model's folder as chat_template.jinja"}}},
    {"assistant_only_loss", truth, {{"false", idle, ""}, {"*", refused, "it is kedge sft's: elsewhere completions alone count"}}, "dpo sdpo apo reward ppo salsa"},
    {"dataloader_drop_last", truth, {{"false", idle, ""}, {"*", refused, "the last, shorter batch of an epoch is trained on too; take so many lines that it is whole, --max_train_samples"}}},
    {"dataloader_num_workers", one, {{"*", idle, "data are in memory"}}},
    {"dataloader_pin_memory", truth, {{"*", idle, "data are in memory"}}},
    {"dataloader_persistent_workers", truth, {{"*", idle, "data are in memory"}}},
    {"dataloader_prefetch_factor", one, {{"*", idle, "data are in memory"}}},
    {"dataloader_multiprocessing_context", one, {{"*", idle, "data are in memory"}}},
    {"dataloader_in_order", truth, {{"*", idle, "batches come in order"}}},
    {"ignore_data_skip", truth, {{"false", idle, ""}, {"*", refused, "a resumed run goes on where it stopped; start anew from the checkpoint's model instead"}}},
    {"data_seed", one, {{"none", idle, ""}, {"*", refused, "--seed is the one seed, of the data's order too"}}},
    {"tools", one, {{"none", idle, ""}, {"*", refused, "tools stand in the data, under the key tools"}}},

    // Model
    {"model_revision", one, {{"main|none", idle, ""}, {"*", refused, "the revision stands after the name: --model_name_or_path ORG/NAME@REVISION"}}},
    {"trust_remote_code", truth, {{"false", idle, ""}, {"*", idle, "no code of a checkpoint is ever run"}}},
    {"model_init_kwargs", one, {{"none|{}", idle, ""}, {"*", refused, "what a model is built with stands in its config.json"}}},
    {"attn_implementation", one, {{"*", idle, "attention is kedge's own, and exact"}}},
    {"use_liger_kernel", truth, {{"false", idle, ""}, {"*", idle, "kernels are kedge's own"}}},
    {"liger_kernel_config", one, {{"none", idle, ""}, {"*", idle, "kernels are kedge's own"}}},
    {"use_cache", truth, {{"*", idle, "training keeps no cache of keys and values"}}},
    {"disable_dropout", truth, {{"true", idle, "there is no dropout"}, {"*", refused, "there is no dropout; leave it out"}}},
    {"router_aux_loss_coef", one, {{"none|0|0.0", idle, ""}, {"*", refused, "the router of experts has a loss of its own in sft, dpo, sdpo and apo; leave it out"}}, "reward ppo salsa kto"},
    {"output_router_logits", truth, {{"true", idle, "the router's loss is added wherever --router_aux_loss_coef, or the model's own one, isn't 0"}, {"*", mapped, "router_aux_loss_coef=0"}}, "sft dpo sdpo apo"},
    {"neftune_noise_alpha", one, {{"none|0|0.0", idle, ""}, {"*", refused, "no noise is added to embeddings; leave it out"}}},
    {"ignore_bias_buffers", truth, {{"*", idle, "models have no such buffers here"}}},
    {"load_in_4bit", truth, {{"false", idle, ""}}},
    {"load_in_8bit", truth, {{"false", idle, ""}}},
    {"bnb_4bit_quant_type", one, {{"nf4", idle, ""}}},
    {"bnb_4bit_compute_dtype", one, {{"*", idle, "products compute in the type of --dtype"}}},
    {"bnb_4bit_quant_storage", one, {{"*", idle, "two numbers are a byte, whatever a tensor would call it"}}},
    {"use_bnb_nested_quant", truth, {{"false", idle, ""}, {"*", mapped, "bnb_4bit_use_double_quant=true"}}},
    {"lora_dropout", one, {{"0|0.0", idle, ""}, {"*", refused, "with dropout the reference would be another model, and a step would depend on how its batch is cut; leave it out"}}},
    {"lora_task_type", one, {{"causal_lm|seq_cls", idle, ""}, {"*", refused, "language models and reward models are trained, CAUSAL_LM and SEQ_CLS"}}},
    {"lora_target_modules", many, {{"none", idle, ""}}},
    {"lora_modules_to_save", many, {{"none", idle, ""}}},
    {"lora_target_parameters", many, {{"none", idle, ""}}},
    {"use_dora", truth, {{"false", idle, ""}}},
    {"model_adapter_name", one, {{"none", idle, ""}, {"*", refused, "an adapter has no name here; leave it out"}}},
    {"ref_adapter_name", one, {{"none", idle, ""}, {"*", refused, "the reference is the model with the adapter off, or --ref_model_name_or_path"}}},
    {"force_use_ref_model", truth, {{"*", idle, "the reference is where training starts, or --ref_model_name_or_path"}}},

    // Loss
    {"rpo_alpha", one, {{"none", idle, ""}, {"*", refused, "say it as a mixture: --loss_type sigmoid sft --loss_weights 1 ALPHA"}}},
    {"reference_free", truth, {{"false", idle, ""}, {"*", refused, "use a loss without a reference: --loss_type simpo, cpo or orpo"}}},
    {"loss_type", many, {{"kto|apo_zero_unpaired", refused, "it is a loss of single completions with labels: kedge kto; of pairs there are kto_pair and apo_zero"}}, "dpo sdpo apo"},
    {"desirable_weight", one, {{"*", refused, "it is KTO's: kedge kto, or kedge dpo --loss_type kto_pair"}}, "sft reward"},
    {"undesirable_weight", one, {{"*", refused, "it is KTO's: kedge kto, or kedge dpo --loss_type kto_pair"}}, "sft reward"},
    {"label_smoothing_factor", one, {{"none|0|0.0", idle, ""}, {"*", refused, "labels are smoothed by losses that say how: --loss_type robust, cdpo or exo_pair with --label_smoothing; and by kedge sft"}}},
    {"precompute_ref_log_probs", truth, {{"*", idle, "the reference is computed once a round and kept"}}},
    {"precompute_ref_batch_size", one, {{"*", idle, "--per_device_eval_batch_size says how many pairs are scored at once"}}},
    {"average_tokens_across_devices", truth, {{"true", idle, ""}, {"*", refused, "a token counts the same in every process; leave it out"}}},

    // Optimization
    {"optim", one, {{"adamw_torch|adamw_torch_fused|adamw_8bit|adamw_bnb_8bit|adamw_torch_8bit|sgd", idle, ""}, {"*", refused, "adamw_torch is nearest; adamw_8bit and sgd take less memory"}}},
    {"optim_args", one, {{"none", idle, ""}, {"*", refused, "optimizers take --adam_beta1, --adam_beta2, --adam_epsilon and --weight_decay"}}},
    {"optim_target_modules", many, {{"none", idle, ""}, {"*", refused, "one optimizer moves all weights; leave it out"}}},
    {"lr_scheduler_type", one, {{"reduce_lr_on_plateau|greedy|cosine_warmup_with_min_lr|warmup_stable_decay", refused, "cosine_with_min_lr, or constant_with_warmup, is nearest"}}},
    {"auto_find_batch_size", truth, {{"false", idle, ""}, {"*", idle, "--micro_batch_tokens bounds memory, whatever the batch"}}},
    {"per_gpu_train_batch_size", one, {{"*", mapped, "per_device_train_batch_size={}"}}},
    {"per_gpu_eval_batch_size", one, {{"*", mapped, "per_device_eval_batch_size={}"}}},
    {"per_device_eval_batch_size", one, {{"*", idle, "--micro_batch_tokens says how much is measured at once"}}},
    {"max_steps", one, {{"-1|0", idle, ""}, {"*", refused, "how long it trains is said in completions: --total_episodes, updates times the completions of an update"}}, "ppo salsa"},
    {"full_determinism", truth, {{"*", idle, "runs of the same settings give the same bits"}}},

    // Computation
    {"bf16", truth, {{"true", mapped, "dtype=bfloat16"}, {"false", mapped, "dtype=float32"}, {"none", idle, ""}}},
    {"fp16", truth, {{"false", idle, ""}, {"*", refused, "there is no float16 here; use --bf16 or --dtype float32"}}},
    {"dtype", one, {{"float16", refused, "there is no float16 here; use bfloat16 or float32"}}},
    {"bf16_full_eval", truth, {{"false", idle, ""}, {"*", idle, "evaluations compute as --dtype says"}}},
    {"fp16_full_eval", truth, {{"false", idle, ""}, {"*", refused, "there is no float16 here; evaluations compute as --dtype says"}}},
    {"fp16_opt_level", one, {{"*", idle, "there is no float16 here"}}},
    {"use_cpu", truth, {{"true", mapped, "device=cpu"}, {"false", idle, "--device cuda asks for a GPU"}}},
    {"no_cuda", truth, {{"true", mapped, "device=cpu"}, {"false", idle, "--device cuda asks for a GPU"}}},
    {"activation_checkpointing", truth, {{"none", idle, ""}, {"*", mapped, "gradient_checkpointing={}"}}},
    {"gradient_checkpointing_kwargs", one, {{"*", idle, "a layer is computed again in one way only"}}},
    {"activation_checkpointing_kwargs", one, {{"*", idle, "a layer is computed again in one way only"}}},
    {"activation_offloading", truth, {{"false", idle, ""}, {"*", idle, "--gradient_checkpointing and --micro_batch_tokens bound memory"}}},
    {"torch_compile", truth, {{"false", idle, ""}, {"*", idle, "kernels are compiled already; --cuda_graphs records a GPU's"}}},
    {"torch_compile_backend", one, {{"*", idle, "kernels are compiled already"}}},
    {"torch_compile_mode", one, {{"*", idle, "kernels are compiled already"}}},
    {"torch_empty_cache_steps", one, {{"*", idle, "memory stays bounded"}}},
    {"skip_memory_metrics", truth, {{"*", idle, "the summary has the peak of memory"}}},
    {"debug", many, {{"none", idle, ""}, {"*", refused, "a loss or gradient that isn't finite stops a run anyway; leave it out"}}},

    // Evaluation
    {"evaluation_strategy", one, {{"*", mapped, "eval_strategy={}"}}},
    {"do_eval", truth, {{"*", idle, "held-out data are measured where they are given"}}},
    {"do_train", truth, {{"*", idle, "it trains"}}},
    {"do_predict", truth, {{"false", idle, ""}, {"*", refused, "predictions are what kedge score and kedge generate write"}}},
    {"eval_on_start", truth, {{"*", idle, "held-out data are always measured before the first step"}}},
    {"eval_accumulation_steps", one, {{"*", idle, "an evaluation keeps sums alone"}}},
    {"eval_do_concat_batches", truth, {{"*", idle, "an evaluation keeps sums alone"}}},
    {"eval_use_gather_object", truth, {{"*", idle, "an evaluation keeps sums alone"}}},
    {"prediction_loss_only", truth, {{"*", idle, "an evaluation keeps sums alone"}}},
    {"batch_eval_metrics", truth, {{"*", idle, "an evaluation keeps sums alone"}}},
    {"include_for_metrics", many, {{"none", idle, ""}, {"*", refused, "there are no metrics of your own; kedge score writes what each pair has"}}},
    {"generate_during_eval", truth, {{"false", idle, ""}, {"*", refused, "evaluations sample where there is a judge: kedge apo --eval_prompts; or kedge generate afterwards"}}},

    // Run
    {"logging_strategy", one, {{"steps", idle, ""}, {"*", idle, "metrics.jsonl has a line every --logging_steps"}}},
    {"logging_first_step", truth, {{"false", idle, ""}, {"*", idle, "metrics.jsonl has a line every --logging_steps"}}},
    {"logging_nan_inf_filter", truth, {{"*", idle, "a loss that isn't finite stops the run"}}},
    {"logging_dir", one, {{"*", idle, "metrics.jsonl and runs/, with the event files, are in --output_dir"}}},
    {"log_level", one, {{"*", idle, "--quiet says nothing but errors"}}},
    {"log_level_replica", one, {{"*", idle, "the leading process speaks alone"}}},
    {"log_on_each_node", truth, {{"*", idle, "the leading process speaks alone"}}},
    {"disable_tqdm", truth, {{"*", idle, "a bar is drawn on terminals alone; --quiet says nothing"}}},
    {"include_num_input_tokens_seen", truth, {{"*", idle, "metrics.jsonl has num_tokens"}}},
    {"include_tokens_per_second", truth, {{"*", idle, "--json prints train_tokens_per_second"}}},
    {"report_to", many, {{"*", idle, "nothing is sent anywhere; wandb, trackio and others read metrics.jsonl or runs/ of --output_dir afterwards, see docs/reports.md"}}},
    {"run_name", one, {{"*", idle, "a run is known by its --output_dir"}}},
    {"project", one, {{"*", idle, "a run is known by its --output_dir"}}},
    {"trackio_space_id", one, {{"*", idle, "metrics go to metrics.jsonl in --output_dir"}}},
    {"trackio_bucket_id", one, {{"*", idle, "metrics go to metrics.jsonl in --output_dir"}}},
    {"trackio_static_space_id", one, {{"*", idle, "metrics go to metrics.jsonl in --output_dir"}}},
    {"save_only_model", truth, {{"false", idle, ""}, {"*", idle, "checkpoints hold all that a resume needs; --save_strategy no writes none"}}},
    {"save_safetensors", truth, {{"true", idle, ""}, {"*", refused, "weights are written as safetensors alone"}}},
    {"save_on_each_node", truth, {{"false", idle, ""}, {"*", refused, "the leading process writes; give a folder that all nodes share"}}},
    {"enable_jit_checkpoint", truth, {{"*", idle, "a run that is interrupted saves"}}},
    {"restore_callback_states_from_checkpoint", truth, {{"*", idle, "a resumed run goes on with all it had"}}},
    {"push_to_hub", truth, {{"false", idle, ""}, {"*", idle, "nothing is uploaded; afterwards: hf upload NAME OUTPUT_DIR"}}},
    {"hub_model_id", one, {{"*", idle, "nothing is uploaded"}}},
    {"hub_token", one, {{"*", idle, "nothing is uploaded"}}},
    {"hub_strategy", one, {{"*", idle, "nothing is uploaded"}}},
    {"hub_private_repo", truth, {{"*", idle, "nothing is uploaded"}}},
    {"hub_always_push", truth, {{"*", idle, "nothing is uploaded"}}},
    {"hub_revision", one, {{"*", idle, "nothing is uploaded"}}},
    {"env", many, {{"none", idle, ""}, {"*", refused, "set the environment where you start kedge"}}},

    // Several processes
    {"local_rank", one, {{"*", idle, "torchrun says which process this is"}}},
    {"num_processes", one, {{"1", idle, ""}, {"*", refused, "start several processes with torchrun --no-python --nproc-per-node N kedge"}}},
    {"accelerate_config", one, {{"single_gpu|none", idle, ""}, {"*", refused, "start several processes with torchrun --no-python --nproc-per-node N kedge"}}},
    {"accelerator_config", one, {{"none|{}", idle, ""}, {"*", refused, "nothing of accelerate's is used; leave it out"}}},
    {"parallelism_config", one, {{"none", idle, ""}, {"*", refused, "processes share the examples of a step; start them with torchrun --no-python"}}},
    {"ddp_backend", one, {{"gloo|nccl|none", idle, "gloo on processors, nccl on GPUs"}, {"*", refused, "gloo on processors, nccl on GPUs; leave it out"}}},
    {"ddp_find_unused_parameters", truth, {{"*", idle, "gradients are summed once a step"}}},
    {"ddp_bucket_cap_mb", one, {{"*", idle, "gradients are summed once a step"}}},
    {"ddp_broadcast_buffers", truth, {{"*", idle, "gradients are summed once a step"}}},
    {"ddp_static_graph", truth, {{"*", idle, "gradients are summed once a step"}}},
    {"fsdp_config", one, {{"none|{}", idle, ""}, {"*", refused, "--fsdp full_shard or shard_grad_op says all that there is to choose: layers are the units, the next one is gathered while one computes; --gradient_checkpointing on computes them again"}}},
    {"deepspeed", one, {{"none", idle, ""}, {"*", refused, "start several processes with torchrun --no-python; the optimizer's state is divided among them, as ZeRO-1 does"}}},

    // Online
    {"reward_model_path", one, {{"none", idle, ""}, {"*", refused, "fresh completions are trained on by kedge apo --rounds N --prompts FILE --reward_model DIR"}}},
    {"max_new_tokens", one, {{"*", refused, "nothing is sampled here; kedge apo --prompts FILE samples"}}},
    {"temperature", one, {{"*", refused, "nothing is sampled here; kedge apo --prompts FILE samples"}}},
    {"top_p", one, {{"*", refused, "nothing is sampled here; kedge apo --prompts FILE samples"}}},
    {"top_k", one, {{"*", refused, "nothing is sampled here; kedge apo --prompts FILE samples"}}},
    {"missing_eos_penalty", one, {{"none", idle, ""}, {"*", refused, "completions that don't end are judged as they are; take the penalty off in a --judge, or use kedge ppo"}}},
    {"min_p", one, {{"none|0|0.0", idle, ""}, {"*", refused, "samplers have --top_p and --top_k"}}},
    {"repetition_penalty", one, {{"1|1.0|none", idle, ""}, {"*", refused, "the policy that is trained is the one that is sampled; leave it out"}}},
    {"generation_kwargs", one, {{"none|{}", idle, ""}, {"*", refused, "samplers have --temperature, --top_p and --top_k"}}},
    {"cache_implementation", one, {{"*", idle, "the cache of keys and values is kedge's own"}}},
    {"reward_weights", many, {{"none|1|1.0", idle, ""}, {"*", refused, "there is one reward; let a --judge weigh several"}}},
    {"use_vllm", truth, {{"false", idle, ""}, {"*", idle, "completions are sampled by kedge itself"}}},
    {"vllm_model_impl", one, {{"*", idle, "completions are sampled by kedge itself"}}},
    {"vllm_structured_outputs_regex", one, {{"none", idle, ""}, {"*", refused, "completions are sampled freely"}}},
    {"vllm_gpu_memory_utilization", one, {{"*", idle, "completions are sampled by kedge itself"}}},
    {"vllm_mode", one, {{"*", idle, "completions are sampled by kedge itself"}}},
    {"vllm_server_base_url", one, {{"*", idle, "completions are sampled by kedge itself"}}},
    {"vllm_server_host", one, {{"*", idle, "completions are sampled by kedge itself"}}},
    {"vllm_server_port", one, {{"*", idle, "completions are sampled by kedge itself"}}},
    {"vllm_server_timeout", one, {{"*", idle, "completions are sampled by kedge itself"}}},
    {"vllm_group_port", one, {{"*", idle, "completions are sampled by kedge itself"}}},
    {"vllm_tensor_parallel_size", one, {{"*", idle, "completions are sampled by kedge itself"}}},
    {"vllm_enable_sleep_mode", truth, {{"*", idle, "completions are sampled by kedge itself"}}},
    {"ds3_gather_for_generation", truth, {{"*", idle, "completions are sampled by kedge itself"}}},
  };
}
// clang-format on

bool holds_word(std::string_view words, std::string_view word, char between) {
  while (true) {
    std::size_t const end = words.find(between);
    if (words.substr(0, end) == word) return true;
    if (end == std::string_view::npos) return false;
    words.remove_prefix(end + 1);
  }
}

// As the table writes it.
std::string canonical(trl_flag const& flag, std::string const& value) {
  std::string low = value;
  std::transform(low.begin(), low.end(), low.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (low.empty() || llm::means_none(low)) return "none";
  if (flag.form != trl_form::truth) return low;
  std::optional<bool> const yes = llm::setting_type<bool>::read(low, {});
  return !yes ? low : *yes ? "true" : "false";
}

// The values of a case, as people read them.
std::string in_words(trl_flag const& flag, trl_case const& one) {
  if (one.values == "*") {
    std::string_view const other = flag.cases.size() == 2 && flag.form == trl_form::truth ? flag.cases.front().values : "";
    return other == "false" ? "true" : other == "true" ? "false" : flag.cases.size() > 1 ? "others" : "any";
  }
  std::string text(one.values);
  for (std::size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) text.replace(at, 1, ", ");
  return text;
}

std::string explained(trl_case const& one) {
  if (one.fate != trl_fate::mapped) return std::string(one.text);
  std::string text = "`--" + std::string(one.text) + "`";
  text.replace(text.find('='), 1, " ");
  if (std::size_t const at = text.find("{}"); at != std::string::npos) text.replace(at, 2, "VALUE");
  return text;
}

}  // namespace

std::vector<trl_flag> const& trl_flags() {
  static std::vector<trl_flag> const all = table();
  return all;
}

trl_flag const* find_trl_flag(std::string_view name, std::string_view command) {
  for (trl_flag const& flag : trl_flags())
    if (flag.name == name && (flag.commands.empty() || holds_word(flag.commands, command, ' '))) return &flag;
  return nullptr;
}

trl_case const* case_of(trl_flag const& flag, std::string const& value) {
  std::string const wanted = canonical(flag, value);
  for (trl_case const& one : flag.cases)
    if (one.values == "*" || holds_word(one.values, wanted, '|')) return &one;
  return nullptr;
}

void print_trl_tables() {
  for (auto const& fate : names(trl_fate{})) {
    std::printf("**%s**\n\n| flag | values | %s |\n|---|---|---|\n", std::string(fate.name).c_str(), fate.value == trl_fate::mapped ? "is" : "because");
    for (trl_flag const& flag : trl_flags())
      for (trl_case const& one : flag.cases)
        if (one.fate == fate.value && !one.text.empty())
          std::printf("| `--%s`%s | %s | %s |\n", std::string(flag.name).c_str(), flag.commands.empty() ? "" : (" (of " + std::string(flag.commands) + ")").c_str(),
                      in_words(flag, one).c_str(), explained(one).c_str());
    std::printf("\n");
  }
}

}  // namespace kedge::cli
