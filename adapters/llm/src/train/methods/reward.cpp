// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/reward.hpp>

#include <kedge/llm/hub/hub_name.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <kedge/losses/pair.hpp>

#include <kedge/llm/model/weights.hpp>

#include "../end_of_text.hpp"
#include "one_round.hpp"
#include "../preference_problem.hpp"
#include "../reward_head.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

/// Figures of a number of pairs: sums first, then means under TRL's names.
struct reward_figures {
  double loss = 0, accuracy = 0, margin = 0, mean = 0;
  double least = std::numeric_limits<double>::infinity(), most = -least;
  double center = 0;  ///< the coefficient

  /// Adds a pair. returns the slopes of its loss with respect to the two rewards
  std::pair<double, double> add(double chosen, double rejected, double margin_wanted) {
    double const h = chosen - rejected - (std::isnan(margin_wanted) ? 0 : margin_wanted), both = chosen + rejected;
    loss += detail::softplus(-h) + center * both * both;
    accuracy += chosen > rejected ? 1 : 0;
    margin += chosen - rejected;
    mean += both / 2;
    least = std::min({least, chosen, rejected});
    most = std::max({most, chosen, rejected});
    double const slope = -detail::sigmoid(-h), pull = 2 * center * both;
    return {slope + pull, -slope + pull};
  }
};

class reward_run {
 public:
  explicit reward_run(reward_settings const& settings)
      : settings_(settings),
        group_(join_run(settings_)),
        opened_(settings_.model, settings_.compute, settings_.says()),
        padding_(padding_token(opened_.source, opened_.tokens)),
        model_(prepare_model()) {
    pairs_ = read(settings.dataset, settings.max_train_samples);
    if (!settings.eval_dataset.empty()) held_out_ = read(settings.eval_dataset, settings.max_eval_samples);
  }

  one_round_result run() {
    one_round_task task;
    task.examples = pairs_.size();
    task.step = [this](pack const& weights, std::span<std::size_t const> which, step_gradient& gradient) { return train_step(weights, which, gradient); };
    if (!held_out_.empty()) task.evaluate = [this](pack const& weights) { return evaluate(weights); };
    task.write = [this](pack const& theta) { opened_.write_trained(model_, theta, settings_); };
    task.shown = {{"margin", "margin"}, {"accuracy", "accuracy"}};
    reward_settings untouched;
    task.identity = identify(declared(settings_), declared(untouched), settings_, opened_.compute,
                             {{"model", model_content(settings_.model)}, {"training data", content_of(std::span<preference_pair const>(pairs_))}, {"held-out pairs", content_of(std::span<preference_pair const>(held_out_))}});
    task.identity.about = {{"method", "reward"}, {"examples_are", "pairs"}, {"model", about_model(opened_, model_)}, {"examples", pairs_.size()}, {"held_out", held_out_.size()}};
    task.name = short_name(opened_.source.path());
    return run_one_round(settings_, group_, model_, start(), task);
  }

 private:
  // Makes the opened checkpoint's config that of a reward model, which is what will be written.
  causal_lm prepare_model() {
    end_texts_with(opened_, settings_.eos_token);
    starts_as_language_model_ = opened_.config.lm_head;
    opened_.config.lm_head = false;
    opened_.config.scalar_head = true;
    opened_.source.config = reward_config(opened_.source.config, opened_.source.path().string());
    opened_.source.config["pad_token_id"] = padding_;
    opened_.source.generation_config = nullptr;
    compute_settings const compute = opened_.training_compute(settings_, {}, group_);
    if (!settings_.use_peft) {
      causal_lm model(opened_.config, compute);
      opened_.divide(model, settings_, group_);
      return model;
    }
    if (starts_as_language_model_) opened_.refuse_adapter();
    lora_settings const lora = opened_.trained_adapter(settings_);
    return {opened_.config, compute, lora, opened_.frozen(settings_, opened_.config, compute, lora)};
  }

  [[nodiscard]] at::Tensor score() const {
    if (!starts_as_language_model_) return opened_.load().back();
    transformer_config head = opened_.config;
    head.layers = 0;
    return initial_parameters(head, opened_.source.config.value("initializer_range", 0.02), settings_.seed).back();
  }

  [[nodiscard]] pack start() const {
    if (!model_.adapted()) return starts_as_language_model_ ? opened_.load(model_, score()) : opened_.load(model_);
    if (opened_.adapter) return master_weights(read_adapter(*opened_.adapter, model_), opened_.compute);
    pack theta = initial_adapter(model_, settings_.seed);
    theta.push_back(score());
    return master_weights(std::move(theta), opened_.compute);
  }

  [[nodiscard]] std::vector<preference_pair> read(std::filesystem::path const& file, std::size_t most) const {
    std::vector<preference_pair> pairs = opened_.read_pairs(file, settings_.reads(most), 0);
    if (settings_.max_length > 0) std::erase_if(pairs, [&](preference_pair const& p) {
        return p.prompt.size() + std::max(p.chosen.size(), p.rejected.size()) > settings_.max_length;
      });
    if (pairs.empty()) throw error(file.string() + ": every pair is longer than max_length " + std::to_string(settings_.max_length) + "; raise --max_length");
    for (preference_pair& pair : pairs) {
      if (std::isnan(pair.margin) != std::isnan(pairs.front().margin))
        throw error(file.string() + ":" + std::to_string(pair.line) + ": some lines have a margin and some have none; give all of them one, or none");
      drop_padding(pair.chosen, padding_);
      drop_padding(pair.rejected, padding_);
    }
    return pairs;
  }

  step_report train_step(pack const& weights, std::span<std::size_t const> which, step_gradient& gradient) const {
    step_report report;
    std::vector<std::size_t> const mine = own_share(group_, pairs_, which);
    report.examples = mine.size();
    reward_figures figures{.center = settings_.center_rewards_coefficient};
    auto const n = static_cast<double>(which.size());
    auto const cuts = cut_micro_batches(pairs_, mine, settings_.compute.micro_batch_tokens);
    for (auto const& micro : cuts) {
      ragged_batch const batch = packed_pairs(model_, pairs_, micro, read_at::end);
      auto [out, pullback] = model_.forward_rows(weights, batch);
      std::vector<double> cotangent;
      for (std::size_t i = 0; i < micro.size(); ++i) {
        preference_pair const& pair = pairs_[micro[i]];
        auto const [chosen, rejected] = figures.add(out.value[2 * i], out.value[2 * i + 1], pair.margin);
        cotangent.push_back(chosen / n);
        cotangent.push_back(rejected / n);
        report.tokens += shared_tokens(pair);
        report.padded_like_tokens += shared_tokens(pair) + pair.prompt.size();
      }
      pullback({}, cotangent, gradient.sum(), gradient.when_last(&micro == &cuts.back()));
    }
    report.loss = figures.loss / n;
    report.add("min_reward", figures.least, 1, across::least);
    report.add("mean_reward", figures.mean / n);
    report.add("max_reward", figures.most, 1, across::most);
    report.add("accuracy", figures.accuracy / n);
    report.add("margin", figures.margin / n);
    return report;
  }

  [[nodiscard]] json evaluate(pack const& weights) const {
    std::vector<std::size_t> all(held_out_.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    reward_figures figures{.center = settings_.center_rewards_coefficient};
    pair_log_probs rewards{std::vector<double>(all.size()), std::vector<double>(all.size())};
    std::vector<std::size_t> const mine = own_share(group_, held_out_, all);
    for (auto const micro : cut_micro_batches(held_out_, mine, settings_.compute.micro_batch_tokens))
      put(split_pairs(model_.rows(weights, packed_pairs(model_, held_out_, micro, read_at::end)).value), micro, rewards);
    group_.sum(rewards.chosen);
    group_.sum(rewards.rejected);
    for (std::size_t const i : all) figures.add(rewards.chosen[i], rewards.rejected[i], held_out_[i].margin);
    auto const n = static_cast<double>(held_out_.size());
    return {{"eval_loss", figures.loss / n},        {"eval_min_reward", figures.least},       {"eval_mean_reward", figures.mean / n},
            {"eval_max_reward", figures.most}, {"eval_accuracy", figures.accuracy / n}, {"eval_margin", figures.margin / n}};
  }

  reward_settings settings_;
  process_group group_;
  session opened_;
  std::int32_t padding_;
  bool starts_as_language_model_ = false;
  causal_lm model_;
  std::vector<preference_pair> pairs_, held_out_;
};

}  // namespace

one_round_result train_reward(reward_settings const& given) {
  reward_settings settings = given;
  declared(settings).check_ranges();
  if (settings.dataset.empty()) throw error("--dataset is missing; give a JSONL file of preference pairs");
  return reward_run(settings).run();
}

}  // namespace kedge::llm
