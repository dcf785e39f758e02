// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/hub/model_setting.hpp>
#include <kedge/llm/train/preference.hpp>

#include <algorithm>

namespace kedge::llm {

void declare(settings_list& list, training_settings& s) {
  list.group("");
  list.add("dataset", s.dataset, "JSONL of preference pairs: prompt, chosen, rejected; one file, or one a round").alias("data").required().resumes(on_resume::content);
  list.add("eval_dataset", s.eval_dataset, "held-out pairs, evaluated before, between and after rounds").resumes(on_resume::content);
  list.add("min_score_gap", s.min_score_gap, "keep training pairs whose scores differ at least so much; 0: all");
  list.add("eval_min_score_gap", s.eval_min_score_gap, "the same for held-out pairs");
  list.group("Reference");
  list.add(model_setting("ref_model_name_or_path", s.ref_model, "folder or GGUF file of the first round's reference; none: where the round starts")).resumes(on_resume::content);
  list.add("sync_ref_model", s.sync_ref_model, "TR-DPO: move the reference toward the policy while a round trains");
  list.add("ref_model_mixup_alpha", s.ref_model_mixup_alpha, "share of the policy in the moved reference").at_most(1).needs("sync_ref_model");
  list.add("ref_model_sync_steps", s.ref_model_sync_steps, "optimiser steps from one move to the next").at_least(1).needs("sync_ref_model");
  list.group("");
  list.add("precision_pairs", s.precision_pairs, "in bfloat16: measure on so many pairs at most what rounding does to margins; 0: don't").resumes(on_resume::free);
  declare(list, s.loss);
  list.add("ld_alpha", s.ld_alpha, "LD-DPO: weight of tokens beyond the shorter completion of a pair, in policy and reference; none: 1").at_most(1);
  declare_router(list, s.router_aux_loss_coef);
  list.add("context_parallel_size", s.context_parallel_size, "processes that compute the tokens of a pair together: keys and values go around among them, and each keeps its share alone")
      .at_least(1)
      .at_most(1 << 16)
      .resumes(on_resume::free);
  list.add("use_weighting", s.use_weighting, "WPO: weigh a pair by how the policy itself would sample its completions");
  declare(list, static_cast<run_settings&>(s));
}

namespace {

// A parameter of some losses: in the map where it was set, else each loss has its own default.
class loss_parameter_setting : public setting {
 public:
  loss_parameter_setting(loss_parameter const& declared, loss_settings& settings) : setting(declared.name, declared.help + readers(declared)), settings_(settings) {
    constexpr double limit = number_range().most;
    within({std::max(declared.least, -limit), std::min(declared.most, limit), declared.open_least, declared.open_most});
    otherwise(declared.defaults);
  }

  void check() const override {
    if (auto const found = settings_.parameters.find(name()); found != settings_.parameters.end() && !range().contains(found->second))
      throw usage_error("--" + name() + " " + value().dump() + ": it takes " + form());
  }
  [[nodiscard]] nlohmann::ordered_json value() const override {
    auto const found = settings_.parameters.find(name());
    return found == settings_.parameters.end() ? nlohmann::ordered_json() : nlohmann::ordered_json(found->second);
  }
  [[nodiscard]] std::string form() const override { return setting_type<double>::form(range()); }

 protected:
  void assign(std::span<std::string const> texts) override {
    std::optional<double> const value = setting_type<double>::read(texts.front(), range());
    if (!value || !range().contains(*value)) throw usage_error("--" + name() + " " + texts.front() + ": it takes " + form());
    settings_.parameters[name()] = *value;
  }

 private:
  static std::string readers(loss_parameter const& declared) {
    std::string text;
    for (std::string const& loss : declared.losses) text += (text.empty() ? " (" : ", ") + loss;
    return text.empty() ? text : text + ")";
  }

  loss_settings& settings_;
};

}  // namespace

void declare(settings_list& list, loss_settings& s) {
  list.group("Loss");
  list.add("loss_type", s.loss_type, "one, or several for a mixture; TRL's names and the papers'");
  list.add("loss_weights", s.loss_weights, "one a loss; none: 1 each").at_least(-1e9);
  list.add("beta", s.beta, "weight of the reference").above(0).at_most(1e6);
  list.add("f_divergence_type", s.f_divergence_type, "what holds the policy to its reference");
  for (loss_parameter const& one : loss_parameters()) list.add(std::make_unique<loss_parameter_setting>(one, s));
}

}  // namespace kedge::llm
