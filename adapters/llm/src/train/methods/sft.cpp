// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/sft.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/hub/hub_name.hpp>
#include <kedge/llm/model/weights.hpp>

#include "../../model/profile.hpp"
#include "../end_of_text.hpp"
#include "one_round.hpp"
#include "../router_loss.hpp"
#include "../session.hpp"
#include "../step_batches.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

// Tokens of an example that enter the loss: nothing stands before a sequence's first.
std::size_t learned_tokens(demonstration_ids const& example) {
  if (example.learned.empty()) return example.tokens.size() - std::max<std::size_t>(example.learned_from, 1);
  std::size_t count = 0;
  for (token_run const& run : example.learned) count += run.end - std::max<std::size_t>(run.begin, 1);
  return count;
}

ragged_batch pack_demonstrations(causal_lm const& model, std::span<demonstration_ids const> examples, std::span<std::size_t const> which) {
  timed const scope(phase::data);
  ragged_batch batch;
  batch.shares_prefixes = model.shares_prefixes();
  for (std::size_t const i : which) {
    std::span const tokens(examples[i].tokens);
    std::array const completion{tokens.subspan(examples[i].learned_from)};
    std::size_t const first_row = batch.rows.size();
    append(batch, tokens.first(examples[i].learned_from), completion);
    if (!examples[i].learned.empty()) learn_only(batch, first_row, completion[0].size(), examples[i].learned);
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

// What is minimised, and what is told, of rows that are learned.
struct row_loss {
  sft_loss type = sft_loss::nll;
  double smoothing = 0;

  static constexpr row_figures wanted{.entropy = true, .logits = true};

  /// Of a row, nats.
  [[nodiscard]] double value(row_outputs const& out, std::size_t r) const {
    if (type == sft_loss::dft) return -std::exp(out.logp[r]) * out.logp[r];
    return -(1 - smoothing) * out.logp[r] - smoothing * (out.mean_logit[r] - out.log_sum[r]);
  }
  /// In the row's log-probability: of smoothed labels the model's head makes the rest (compute_settings::label_smoothing).
  [[nodiscard]] double slope(row_outputs const& out, std::size_t r) const { return type == sft_loss::dft ? -std::exp(out.logp[r]) : -1; }
};

double loss_of(row_loss const& loss, row_outputs const& out) {
  double total = 0;
  for (std::size_t r = 0; r < out.logp.size(); ++r) total += loss.value(out, r);
  return total;
}

// What entropies and likeliest tokens count, by their example.
class example_shares {
 public:
  example_shares(std::span<demonstration_ids const> examples, std::span<std::size_t const> which, std::size_t batch)
      : batches_(which, batch), tokens_(batches_.count()) {
    for (std::size_t const i : which) tokens_.add(batches_.of(i), learned_tokens(examples[i]));
  }
  void report(row_outputs const& out, ragged_batch const& batch, std::span<std::size_t const> micro, step_report& to) const {
    double entropy = 0, accuracy = 0;
    for (std::size_t r = 0; r < out.logp.size(); ++r) {
      double const share = tokens_.of(batches_.of(micro[static_cast<std::size_t>(batch.sequence[r])]));
      entropy += share * out.entropy[r];
      accuracy += share * out.likeliest[r];
    }
    to.add("entropy", entropy);
    to.add("mean_token_accuracy", accuracy);
  }

 private:
  step_batches batches_;
  batch_shares tokens_;
};

step_report train_step(process_group const& group, causal_lm const& model, row_loss const& loss, router_loss const& router, run_settings const& settings, pack const& weights,
                       std::span<demonstration_ids const> examples, std::span<std::size_t const> which, step_gradient& gradient) {
  step_report report;
  example_shares const shares(examples, which, settings.batch() / settings.gradient_accumulation_steps);
  std::vector<std::size_t> const mine = own_share(group, examples, which);
  report.examples = mine.size();
  std::size_t learned = 0;
  for (std::size_t const i : which) learned += learned_tokens(examples[i]);
  double const share = 1 / static_cast<double>(std::max<std::size_t>(learned, 1));
  auto const cuts = micro_batches(examples, mine, settings.compute.micro_batch_tokens);
  row_figures wanted = row_loss::wanted;
  wanted.routing = bool{router};
  std::optional<expert_use> use = router.before(
      cuts.size(), [&](std::size_t i) { return model.rows(weights, pack_demonstrations(model, examples, cuts[i]), {.routing = true}); });
  for (auto const& micro : cuts) {
    ragged_batch const batch = pack_demonstrations(model, examples, micro);
    auto [out, pullback] = model.forward_rows(weights, batch, wanted);
    if (wanted.routing && !use) use = out.routing;
    report.loss += share * loss_of(loss, out);
    shares.report(out, batch, micro, report);
    for (std::size_t const i : micro) report.tokens += examples[i].tokens.size();
    std::vector<double> slopes;
    for (std::size_t r = 0; r < out.logp.size(); ++r) slopes.push_back(share * loss.slope(out, r));
    pullback(slopes, {}, gradient.sum(), gradient.when_last(&micro == &cuts.back()), use ? router.slopes(*use) : std::vector<double>());
  }
  if (use) router.report(*use, report);
  report.padded_like_tokens = report.tokens;
  return report;
}

json evaluate(process_group const& group, causal_lm const& model, row_loss const& loss, std::size_t micro_batch_tokens, pack const& weights,
              std::span<demonstration_ids const> examples) {
  std::vector<std::size_t> all(examples.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  std::vector<double> sums(4);  // of losses, entropies, likeliest tokens; and how many tokens
  std::vector<std::size_t> const mine = own_share(group, examples, all);
  for (auto const micro : micro_batches(examples, mine, micro_batch_tokens)) {
    row_outputs const out = model.rows(weights, pack_demonstrations(model, examples, micro), row_loss::wanted);
    sums[0] += loss_of(loss, out);
    sums[1] += sum(out.entropy);
    sums[2] += sum(out.likeliest);
    sums[3] += static_cast<double>(out.logp.size());
  }
  group.sum(sums);
  double const tokens = std::max(sums[3], 1.0);
  return {{"eval_loss", sums[0] / tokens}, {"eval_entropy", sums[1] / tokens}, {"eval_mean_token_accuracy", sums[2] / tokens}};
}

class sft_data {
 public:
  sft_data(session const& opened, sft_settings const& settings) : session_(opened), settings_(settings) {}

  [[nodiscard]] std::vector<demonstration_ids> read(std::filesystem::path const& file, std::size_t most) const {
    std::vector<demonstration_ids> all = session_.read_demonstrations(file, settings_.reads(most),
                                                                       {.max_length = settings_.max_length,
                                                                        .truncation = settings_.truncation_mode,
                                                                        .completion_only = settings_.completion_only_loss.value_or(true),
                                                                        .assistant_only = settings_.assistant_only_loss});
    if (settings_.completion_only_loss.value_or(false))
      for (demonstration_ids const& example : all)
        if (example.learned_from == 0 && !example.truncated)  // keep_end may have cut the prompt away
          throw error(file.string() + ":" + std::to_string(example.line) + ": --completion_only_loss true needs a prompt; give prompt and completion");
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
  pack theta = master_weights(initial_parameters(opened.config, range, s.seed), opened.compute);
  divided_pack const division(model);
  return division.divides_weights() ? division.known(division.cut(theta)) : theta;
}

}  // namespace

one_round_result train_sft(sft_settings const& given) {
  sft_settings settings = given;
  settings_list const list = declared(settings);
  list.check_ranges();
  process_group const group = join_run(settings);
  if (settings.dataset.empty()) throw error("--dataset is missing; give a JSONL file of demonstrations");
  row_loss const loss{settings.loss_type, settings.label_smoothing_factor};
  require(loss.type == sft_loss::nll || loss.smoothing == 0, "--label_smoothing_factor smooths the labels of nll; with --loss_type dft leave it out");
  session opened = open(settings);
  opened.compute.label_smoothing = static_cast<float>(loss.smoothing);
  if (!opened.config.lm_head) throw error(opened.source.path().string() + ": a reward model has no words to learn; give a language model");
  sft_data const data(opened, settings);
  std::vector<demonstration_ids> const examples = data.read(settings.dataset, settings.max_train_samples);
  std::vector<demonstration_ids> held_out;
  if (!settings.eval_dataset.empty()) held_out = data.read(settings.eval_dataset, settings.max_eval_samples);
  causal_lm const model = opened.trained_model(settings, {}, group);
  std::size_t const most = settings.compute.micro_batch_tokens;
  router_loss const router(model.config(), settings.router_aux_loss_coef, group);
  one_round_task task;
  task.examples = examples.size();
  task.step = [&](pack const& weights, std::span<std::size_t const> which, step_gradient& gradient) {
    return train_step(group, model, loss, router, settings, weights, examples, which, gradient);
  };
  if (!held_out.empty()) task.evaluate = [&](pack const& weights) { return evaluate(group, model, loss, most, weights, held_out); };
  task.write = [&](pack const& theta) { opened.write_trained(model, theta, settings); };
  task.shown = {{"entropy", "entropy"}, {"mean_token_accuracy", "accuracy"}};
  sft_settings untouched;
  task.identity = identify(list, declared(untouched), settings, opened.compute,
                           {{"model", model_content(settings.model)}, {"shape", model_content(settings.config_name)},
                            {"training data", content_of(std::span<demonstration_ids const>(examples))}, {"held-out examples", content_of(std::span<demonstration_ids const>(held_out))}});
  task.identity.about = {{"method", "sft"}, {"examples_are", "examples"}, {"model", about_model(opened, model)}, {"examples", examples.size()}, {"held_out", held_out.size()}};
  task.name = short_name(opened.source.path()) + (settings.model.empty() ? ", from random numbers" : "");
  return run_one_round(settings, group, model, start_of(opened, model, settings), task);
}

}  // namespace kedge::llm
