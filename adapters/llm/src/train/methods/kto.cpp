// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/kto.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/hub/hub_name.hpp>

#include "../labelled_problem.hpp"
#include "../own_reference.hpp"
#include "../session.hpp"
#include "one_round.hpp"

namespace kedge::llm {
namespace {

void check(kto_settings const& s) {
  bool const estimates = s.loss_type == unpaired_loss::kto;
  require(!s.dataset.empty(), "--dataset is missing; give a JSONL file of prompt, completion and label");
  require(!estimates || !s.shuffle,
          "--shuffle: the kto loss puts behind each prompt the completion before its own in the file's order; leave it out (--train_sampling_strategy "
          "sequential), and order the lines beforehand (kedge shuffle)");
  require(!estimates || s.batch() > s.gradient_accumulation_steps,
          "--per_device_train_batch_size 1: there the completion before a prompt's own is its own; the kto loss needs 2 or more");
  require(s.ref_model.empty() || !s.sync_ref_model || !s.use_peft,
          "--sync_ref_model with --use_peft moves adapters of one base; leave --ref_model_name_or_path out");
}

// Of a weight, to two decimals.
struct weight_range {
  double least, most;
  [[nodiscard]] bool has(double weight) const { return least <= weight && weight <= most; }
  [[nodiscard]] std::string text() const { return short_number(least) + " to " + short_number(most); }
};

weight_range within(double least, double factor) {
  auto const rounded = [](double x) { return std::round(100 * x) / 100; };
  return {rounded(least), rounded(factor * least)};
}

class kto_run {
 public:
  explicit kto_run(kto_settings const& settings)
      : settings_(settings),
        group_(join_run(settings_)),
        session_(settings_.model, settings_.compute, settings_.says()),
        training_{read(settings_.dataset, settings_.max_train_samples)},
        held_out_{settings_.eval_dataset.empty() ? labelled_data() : read(settings_.eval_dataset, settings_.max_eval_samples)},
        model_(session_.trained_model(settings_, {.points = settings_.sync_ref_model ? 1 : 0}, group_)),
        problem_(settings_, model_, group_) {
    tell_balance();
    if (model_.config().experts.aux_loss != 0)
      settings_.says().say("the router of experts has a loss of its own in its config (router_aux_loss_coef), which kto doesn't add");
  }

  one_round_result run() {
    pack start = session_.trained_start(model_, settings_.seed);
    score_reference(start);
    one_round_task task;
    task.examples = training_.data.size();
    task.step = [this](pack const& weights, std::span<std::size_t const> which, step_gradient& gradient) {
      return problem_.train_step(weights, training_, which, gradient);
    };
    if (held_out_.data.size() > 0) task.evaluate = [this](pack const& weights) { return problem_.evaluate(weights, held_out_); };
    task.write = [this](pack const& theta) { session_.write_trained(model_, theta, settings_); };
    if (problem_.moving) {
      task.follow = [this](std::function<pack const&()> const& theta, std::size_t steps) { problem_.moving->follow(theta, steps); };
      task.save = [this](checkpoint_writer& to) { problem_.moving->save(to); };
      task.restore = [this](checkpoint_reader const& from) { problem_.moving->restore(from, session_.compute.device); };
    }
    task.shown = {{"rewards/margins", "margin"}, {"kl", "kl"}};
    kto_settings untouched;
    task.identity = identify(declared(settings_), declared(untouched), settings_, session_.compute,
                             {{"model", model_content(settings_.model)},
                              {"training data", content_of(std::span(training_.data.examples()))},
                              {"held-out completions", content_of(std::span(held_out_.data.examples()))},
                              {"reference model", model_content(settings_.ref_model)}});
    task.identity.about = {{"method", "kto"}, {"examples_are", "completions"}, {"model", about_model(session_, model_)}, {"examples", training_.data.size()}, {"held_out", held_out_.data.size()}};
    task.name = short_name(session_.source.path());
    return run_one_round(settings_, group_, model_, std::move(start), task);
  }

 private:
  [[nodiscard]] labelled_data read(std::filesystem::path const& file, std::size_t most) const {
    std::vector<unpaired_ids> encoded = session_.read_unpaired(file, settings_.reads(most), settings_.max_length);
    labelled_data data(std::move(encoded), settings_.batch() / settings_.gradient_accumulation_steps, settings_.max_length);
    std::string const limit = std::to_string(settings_.max_length);
    if (data.left_out() > 0) settings_.says().say(file.string() + ": " + std::to_string(data.left_out()) + " completions left out, whose prompts fill max_length " + limit);
    require(data.size() > 0, file.string() + ": no completions in it" + (data.left_out() > 0 ? " whose prompts leave room for them within max_length " + limit + "; raise --max_length" : ""));
    return data;
  }

  // As TRL warns, by equation 8 of the paper: λ_D n_D / (λ_U n_U) should be within 1 and 4/3. The bounds have two decimals, so that what is told can be given.
  void tell_balance() const {
    std::size_t const all = training_.data.size();
    std::size_t learned = 0;
    for (unpaired_ids const& one : training_.data.examples()) learned += one.desirable ? 1 : 0;
    double const ratio = static_cast<double>(std::max<std::size_t>(learned, 1)) / static_cast<double>(std::max<std::size_t>(all - learned, 1));
    weight_range const desirable = within(settings_.undesirable_weight / ratio, 1.33), undesirable = within(ratio * settings_.desirable_weight / 1.33, 1.33);
    if (ratio == 1 || desirable.has(settings_.desirable_weight) || undesirable.has(settings_.undesirable_weight)) return;
    settings_.says().say(std::to_string(learned) + " completions are desirable and " + std::to_string(all - learned) +
                         " are not; the authors of KTO recommend --desirable_weight " + desirable.text() + ", or else --undesirable_weight " + undesirable.text());
  }

  // In the micro-batches in which the first epoch will train, so that before the first step every log-ratio is exactly 0.
  void score_reference(pack const& start) {
    std::optional<own_reference> own;
    if (!settings_.ref_model.empty()) own.emplace(open_own_reference(settings_, settings_.ref_model, settings_.sync_ref_model, session_, group_));
    causal_lm const& model = own ? own->model : model_;
    pack const& masters = own ? own->masters : start;
    pack const weights = model.weights_for(masters);
    problem_.score(model, weights, epoch_solver(settings_, group_).order(0, 0, training_.data.size()), settings_.batch(), training_);
    std::vector<std::size_t> held_out(held_out_.data.size());
    std::iota(held_out.begin(), held_out.end(), std::size_t{0});
    problem_.score(model, weights, held_out, std::max<std::size_t>(1, held_out.size()), held_out_);
    if (!settings_.sync_ref_model) return;
    problem_.moving.emplace(model_, settings_.ref_model_mixup_alpha, settings_.ref_model_sync_steps);
    problem_.moving->begin(masters, 0);
  }

  kto_settings settings_;
  process_group group_;
  session session_;
  scored_completions training_, held_out_;
  causal_lm model_;
  labelled_problem problem_;
};

}  // namespace

one_round_result train_kto(kto_settings const& given) {
  kto_settings settings = given;
  declared(settings).check_ranges();
  check(settings);
  return kto_run(settings).run();
}

}  // namespace kedge::llm
