// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/sampling.hpp>

#include <numeric>
#include <string>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/interrupt.hpp>
#include <kedge/llm/model/generation.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "sampling_choice.hpp"
#include "session.hpp"
#include "stop_watch.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

std::string line_of(sampled_completion const& sample, prompt_example const& example, tokenizer const& words, bool logprobs) {
  std::span<std::int32_t const> text = sample.tokens;
  if (sample.finished) text = text.first(text.size() - 1);
  json line{{"prompt", example.prompt}, {"completion", words.decode(text, true)}, {"tokens", sample.tokens.size()}, {"finished", sample.finished}};
  if (logprobs) {
    line["logp"] = std::accumulate(sample.logp.begin(), sample.logp.end(), 0.0);
    line["logp_tokens"] = sample.logp;
    line["token_ids"] = sample.tokens;
  }
  return line.dump() + '\n';
}

}  // namespace

sampling_settings chosen_sampling(session const& model, generate_settings const& asked, std::size_t otherwise) {
  generation_defaults const said = read_generation_config(model.source.generation_config, model.source.path().string());
  if (!asked.quiet)
    for (std::string const& note : said.notes) asked.tells.say(note);
  sampling_settings s = said.further;
  s.max_new_tokens = asked.max_new_tokens.value_or(said.max_new_tokens.value_or(otherwise));
  if (!asked.max_new_tokens && !said.max_new_tokens) s.max_length = said.max_length.value_or(0);
  s.temperature = asked.temperature.value_or(said.do_sample == false ? 0 : said.temperature.value_or(1));
  s.top_p = asked.top_p.value_or(said.top_p.value_or(1));
  s.min_p = asked.min_p.value_or(said.min_p.value_or(0));
  s.top_k = asked.top_k.value_or(said.top_k.value_or(0));
  if (!asked.ignore_eos) s.stop_tokens = model.stop_tokens();
  s.seed = asked.seed;
  s.batch_size = asked.batch_size;
  return s;
}

generate_report generate_completions(generate_settings const& settings, std::function<void(std::string_view)> const& write) {
  session const s(settings.model, settings.compute, settings.quiet ? screen() : settings.tells);
  sampling_settings const sampling = chosen_sampling(s, settings, default_new_tokens);
  encoded_prompts const prompts = s.read_prompts(settings.prompts, settings.reads());
  causal_lm const model(s.config, s.compute);
  pack const weights = model.weights_for(s.load_on_host());
  mixture_term const policy[] = {{1, &weights}};
  prepared_policy prepared(model, policy);
  interrupt_guard const interrupt;
  stop_watch const watch;
  generate_report report{.prompts = prompts.ids.size()};
  auto const take = [&](sampled_completion&& one) {
    write(line_of(one, prompts.examples[one.prompt], s.tokens, settings.logprobs));
    ++report.samples;
    report.tokens += one.tokens.size();
    return true;
  };
  auto const on_progress = [&](std::size_t done, std::size_t all) {
    if (!settings.quiet) show_progress(settings.tells, done, all, "samples", watch.seconds());
    report.interrupted = interrupt.requested();
    return !report.interrupted;
  };
  generate_each(prepared, prompts.ids, settings.num_samples, sampling, take, on_progress);
  report.seconds = watch.seconds();
  return report;
}

}  // namespace kedge::llm
