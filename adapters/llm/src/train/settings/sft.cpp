// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/hub/model_setting.hpp>
#include <kedge/llm/train/sft.hpp>

namespace kedge::llm {

void declare(settings_list& list, sft_settings& s) {
  list.group("");
  list.add("dataset", s.dataset, "JSONL: prompt and completion, or messages, or text").alias("data").required().resumes(on_resume::content);
  list.add("eval_dataset", s.eval_dataset, "held-out examples, evaluated before and after").resumes(on_resume::content);
  list.add(model_setting("config_name", s.config_name,
           "folder with config.json and tokenizer: train a model of that shape from random numbers, drawn by --seed, in place of --model_name_or_path"))
      .excludes("model_name_or_path").resumes(on_resume::content);
  list.add("completion_only_loss", s.completion_only_loss, "learn the completions alone, or the prompts too; none: true where there are prompts").bare("true");
  declare_router(list, s.router_aux_loss_coef);
  list.add("assistant_only_loss", s.assistant_only_loss,
           "of conversations, learn the assistant's turns alone: by the template's generation blocks, or else by turns");
  list.add("eos_token", s.eos_token, "token of the tokenizer that ends texts, and is written as the one that does; none: the tokenizer's own").also("none", "");
  list.add("loss_type", s.loss_type, "of a token: nll, -log p; dft, p times that, where the factor p is a constant to the gradient");
  list.add("label_smoothing_factor", s.label_smoothing_factor, "share of each token's label that is spread over the whole vocabulary; of nll").below(1);
  declare(list, static_cast<run_settings&>(s));
  list.drop("ranked_pairs");
  list.drop("per_device_eval_batch_size");  // --micro_batch_tokens bounds an evaluation
  list.at("model_name_or_path").optional();
}

}  // namespace kedge::llm
