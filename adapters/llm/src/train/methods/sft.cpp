// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/sft.hpp>

#include <algorithm>
#include <array>
#include <numeric>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/model/weights.hpp>

#include "../../model/profile.hpp"
#include "../end_of_text.hpp"
#include "one_round.hpp"
#include "../session.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

// Tokens of an example that enter the loss: nothing stands before a sequence's first.
std::size_t learned_tokens(demonstration_ids const& example) {
  return example.tokens.size() - std::max<std::size_t>(example.learned_from, 1);
}

ragged_batch pack_demonstrations(causal_lm const& model, std::span<demonstration_ids const> examples, std::span<std::size_t const> which) {
  timed const scope(phase::data);
  ragged_batch batch;
  batch.shares_prefixes = model.shares_prefixes();
  for (std::size_t const i : which) {
    std::span const tokens(examples[i].tokens);
    std::array const completion{tokens.subspan(examples[i].learned_from)};
    append(batch, tokens.first(examples[i].learned_from), completion);
  }
  return batch;
}

std::vector<std::span<std::size_t const>> micro_batches(std::span<demonstration_ids const> examples, std::span<std::size_t const> which, std::size_t most) {
  return cut_by_tokens(which, most, [&](std::size_t i) { return examples[i].tokens.size(); });
}

std::vector<std::size_t> own_share(process_group const& group, std::span<demonstration_ids const> examples, std::span<std::size_t const> which) {
  return balanced_share(which, group.rank(), group.size(), [&](std::size_t i) { return examples[i].tokens.size(); });
}

double sum(std::vector<double> const& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

step_report train_step(process_group const& group, causal_lm const& model, std::size_t micro_batch_tokens, pack const& weights,
                       std::span<demonstration_ids const> examples, std::span<std::size_t const> which, step_gradient& gradient) {
  step_report report;
  std::vector<std::size_t> const mine = own_share(group, examples, which);
  report.examples = mine.size();
  std::size_t learned = 0;
  for (std::size_t const i : which) learned += learned_tokens(examples[i]);
  double const share = 1 / static_cast<double>(std::max<std::size_t>(learned, 1));
  auto const cuts = micro_batches(examples, mine, micro_batch_tokens);
  for (auto const& micro : cuts) {
    ragged_batch const batch = pack_demonstrations(model, examples, micro);
    auto [out, pullback] = model.forward_rows(weights, batch, {.entropy = true});
    report.loss -= share * sum(out.logp);
    report.add("entropy", sum(out.entropy), share);
    for (std::size_t const i : micro) report.tokens += examples[i].tokens.size();
    pullback(std::vector<double>(out.logp.size(), -share), {}, gradient.sum(), gradient.when_last(&micro == &cuts.back()));
  }
  report.padded_like_tokens = report.tokens;
  return report;
}

json evaluate(process_group const& group, causal_lm const& model, std::size_t micro_batch_tokens, pack const& weights, std::span<demonstration_ids const> examples) {
  std::vector<std::size_t> all(examples.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  std::vector<double> sums(2);  // of log-probabilities, and how many
  std::vector<std::size_t> const mine = own_share(group, examples, all);
  for (auto const micro : micro_batches(examples, mine, micro_batch_tokens)) {
    row_outputs const out = model.rows(weights, pack_demonstrations(model, examples, micro));
    sums[0] += sum(out.logp);
    sums[1] += static_cast<double>(out.logp.size());
  }
  group.sum(sums);
  return {{"eval_loss", -sums[0] / std::max(sums[1], 1.0)}};
}

class sft_data {
 public:
  sft_data(session const& opened, sft_settings const& settings) : session_(opened), settings_(settings) {}

  [[nodiscard]] std::vector<demonstration_ids> read(std::filesystem::path const& file, std::size_t most) const {
    std::vector<demonstration_ids> all = session_.read_demonstrations(file, settings_.max_length, settings_.skip_bad_lines);
    if (most > 0 && all.size() > most) all.resize(most);
    if (settings_.completion_only_loss.value_or(false))
      for (demonstration_ids const& example : all)
        if (example.learned_from == 0)
          throw error(file.string() + ":" + std::to_string(example.line) + ": --completion_only_loss true needs a prompt; give prompt and completion");
    if (!settings_.completion_only_loss.value_or(true))
      for (demonstration_ids& example : all) example.learned_from = 0;
    return all;
  }

 private:
  session const& session_;
  sft_settings const& settings_;
};

session open_model(sft_settings const& s) {
  if (s.model.empty() == s.config_name.empty())
    throw error("give either --model_name_or_path, a model to go on from, or --config_name, a folder with config.json and tokenizer to start from random numbers");
  if (s.model.empty() && s.use_peft) throw error("--use_peft adapts a model that is there; it goes with --model_name_or_path, not with --config_name");
  return s.model.empty() ? session(checkpoint::open_description(s.config_name), s.compute, s.says()) : session(s.model, s.compute, s.says());
}

session open(sft_settings const& s) {
  session opened = open_model(s);
  end_texts_with(opened, s.eos_token);
  return opened;
}

pack start_of(session const& opened, causal_lm const& model, sft_settings const& s) {
  if (!s.model.empty()) return opened.trained_start(model, s.seed);
  double const range = opened.source.config.value("initializer_range", 0.02);
  return master_weights(initial_parameters(opened.config, range, s.seed), opened.compute);
}

}  // namespace

one_round_result train_sft(sft_settings const& given) {
  sft_settings settings = given;
  settings_list const list = declared(settings);
  list.check_ranges();
  process_group const group = join_run(settings);
  if (settings.dataset.empty()) throw error("--dataset is missing; give a JSONL file of demonstrations");
  session const opened = open(settings);
  if (!opened.config.lm_head) throw error(opened.source.path().string() + ": a reward model has no words to learn; give a language model");
  sft_data const data(opened, settings);
  std::vector<demonstration_ids> const examples = data.read(settings.dataset, settings.max_train_samples);
  std::vector<demonstration_ids> held_out;
  if (!settings.eval_dataset.empty()) held_out = data.read(settings.eval_dataset, settings.max_eval_samples);
  causal_lm const model = opened.trained_model(settings);
  std::size_t const most = settings.compute.micro_batch_tokens;
  one_round_task task;
  task.examples = examples.size();
  task.step = [&](pack const& weights, std::span<std::size_t const> which, step_gradient& gradient) {
    return train_step(group, model, most, weights, examples, which, gradient);
  };
  if (!held_out.empty()) task.evaluate = [&](pack const& weights) { return evaluate(group, model, most, weights, held_out); };
  task.write = [&](pack const& theta) { opened.write_trained(model, theta, settings); };
  task.shown = {{"entropy", "entropy"}};
  task.identity = identify(list, settings, opened.compute,
                           {{"model", model_content(settings.model)}, {"shape", model_content(settings.config_name)},
                            {"training data", content_of(std::span<demonstration_ids const>(examples))}, {"held-out examples", content_of(std::span<demonstration_ids const>(held_out))}});
  task.name = opened.source.path().filename().string() + (settings.model.empty() ? ", from random numbers" : "");
  return run_one_round(settings, group, model, start_of(opened, model, settings), task);
}

}  // namespace kedge::llm
