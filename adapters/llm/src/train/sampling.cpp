// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/sampling.hpp>

#include <algorithm>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/interrupt.hpp>
#include <kedge/llm/model/generation.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "dealt_samples.hpp"
#include "join_run.hpp"
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

constexpr std::size_t batches_at_once = 16;  // that each of several processes decodes between two writes

// One `kedge generate`: the prompts block by block, each dealt out among the processes; alone, all in one block.
class generate_run {
 public:
  generate_run(generate_settings const& settings, device_settings const& compute, process_group const& group, std::function<void(std::string_view)> const& write)
      : settings_(settings),
        group_(group),
        write_(write),
        session_(settings.model, compute, settings.quiet ? screen() : settings.tells),
        sampling_(chosen_sampling(session_, settings, default_new_tokens)),
        prompts_(session_.read_prompts(settings.prompts, settings.reads())),
        model_(session_.config, session_.compute),
        weights_(model_.weights_for(session_.load_on_host())),
        prepared_(model_, std::span(&policy_, 1)),
        report_{.prompts = prompts_.ids.size()} {}

  generate_report run() {
    std::size_t const all = prompts_.ids.size();
    std::size_t const at_once = group_.alone() ? all : std::max<std::size_t>(1, batches_at_once * settings_.batch_size * static_cast<std::size_t>(group_.size()) / settings_.num_samples);
    for (std::size_t first = 0; first < all && !report_.interrupted; first += at_once) take_block(first, std::min(at_once, all - first));
    report_.seconds = watch_.seconds();
    return report_;
  }

 private:
  void take_block(std::size_t first, std::size_t count) {
    dealt_samples const mine = deal(group_, std::span(prompts_.ids).subspan(first, count), settings_.num_samples, sampling_.max_new_tokens, first);
    sampling_settings own = sampling_;
    own.numbers = mine.numbers;
    nlohmann::json lines = nlohmann::json::array();
    auto const take = [&](sampled_completion&& one) {
      std::size_t const place = mine.place(one);
      std::string line = line_of(one, prompts_.examples[place / settings_.num_samples], session_.tokens, settings_.logprobs);
      if (group_.alone())
        put(line, one.tokens.size());
      else
        lines.push_back({place, std::move(line), one.tokens.size()});
      return true;
    };
    generate_each(prepared_, mine.prompts, mine.samples, own, take, [&](std::size_t done, std::size_t) { return go_on(first * settings_.num_samples, done); });
    if (!group_.alone()) put_in_order(lines, first * settings_.num_samples);
  }

  // before: samples of earlier blocks; done: of this one, by this process
  bool go_on(std::size_t before, std::size_t done) {
    std::size_t const all = prompts_.ids.size() * settings_.num_samples;
    if (!settings_.quiet) show_progress(settings_.tells, std::min(all, before + done * static_cast<std::size_t>(group_.size())), all, "samples", watch_.seconds());
    bool const here = interrupt_.requested();
    if (here) group_.ask_to_stop();
    report_.interrupted = here || group_.asked_to_stop();
    return !report_.interrupted;
  }

  // Those that are done and have none before them that isn't.
  void put_in_order(nlohmann::json const& mine, std::size_t next) {
    std::vector<nlohmann::json> all;
    for (nlohmann::json const& part : gather(group_, mine)) all.insert(all.end(), part.begin(), part.end());
    std::sort(all.begin(), all.end(), [](auto const& a, auto const& b) { return a[0] < b[0]; });
    for (nlohmann::json const& one : all)
      if (one[0] == next) put(one[1].get_ref<std::string const&>(), one[2].get<std::size_t>()), ++next;
    report_.interrupted = group_.any(report_.interrupted);
  }

  void put(std::string const& line, std::size_t tokens) {
    if (group_.leads()) write_(line);
    ++report_.samples;
    report_.tokens += tokens;
  }

  generate_settings const& settings_;
  process_group const& group_;
  std::function<void(std::string_view)> const& write_;
  session session_;
  sampling_settings sampling_;
  encoded_prompts prompts_;
  causal_lm model_;
  pack weights_;
  mixture_term policy_{1, &weights_};
  prepared_policy prepared_;
  interrupt_guard interrupt_;
  stop_watch watch_;
  generate_report report_;
};

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
  device_settings compute = settings.compute;
  process_group const group = join(settings.where, compute, settings.ddp_timeout);
  return generate_run(settings, compute, group, write).run();
}

}  // namespace kedge::llm
