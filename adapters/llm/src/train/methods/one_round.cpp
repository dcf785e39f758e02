// SPDX-License-Identifier: Apache-2.0
#include "one_round.hpp"

#include "../trainer.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

class one_round : public training_method {
 public:
  one_round(run_settings const& settings, process_group const& group, causal_lm const& model, pack theta, one_round_task const& task)
      : model_(model), task_(task), trainer_(settings, model.settings(), model.parameters(), group, model), solver_(settings, group),
        theta_(std::move(theta)) {
    solver_.division = model;
    solver_.on_step = [this](step_report const& report) { return trainer_.after_step(report); };
  }

  one_round_result run() {
    one_round_result result{trainer_.run(*this), std::move(evaluations_)};
    result.train_seconds = solver_.seconds;
    return result;
  }

  [[nodiscard]] std::size_t steps() const override { return solver_.steps(task_.examples); }
  [[nodiscard]] std::vector<shown_metric> shown() const override { return task_.shown; }
  [[nodiscard]] run_identity identity() override { return task_.identity; }

  void restore(checkpoint_reader const& from) override {
    theta_ = from.read_pack("theta", theta_.front().device());
    llm::restore(from, solver_, theta_);
    evaluations_ = from.state.at("evaluations");
    if (task_.restore) task_.restore(from);
  }

  void begin(bool resumed) override {
    if (resumed) return;
    trainer_.log().say(task_.name + ": " + short_count(parameter_count(model_.config())) + " parameters, " + std::string(at::toString(model_.settings().type)) + " on " +
                       model_.settings().device.str() + "; " + std::to_string(task_.examples) + " examples, " + std::to_string(steps()) + " steps");
    trainer_.measure_here();
  }

  [[nodiscard]] kedge::status train() override {
    kedge::status const ended = solver_.solve(model_, theta_, task_.examples, 0, [this](pack const& weights, std::span<std::size_t const> which, step_gradient& gradient) {
      follow();
      return task_.step(weights, which, gradient);
    });
    if (ended == kedge::status::done) trainer_.measure_here();
    return ended;
  }

  [[nodiscard]] bool measures() const override { return static_cast<bool>(task_.evaluate); }
  [[nodiscard]] json measure() override {
    follow();
    json figures = task_.evaluate(model_.weights_for(theta()));
    std::string text = "held out:";
    for (auto const& [name, value] : figures.items()) text += ' ' + name + ' ' + short_number(value.get<double>());
    figures["eval_num_tokens"] = trainer_.log().num_tokens();
    figures["step"] = trainer_.log().global_step();
    trainer_.log().record(figures);
    trainer_.log().say(text);
    evaluations_.push_back(figures);
    return figures;
  }

  void take_weights(checkpoint_reader const& from) override { theta_ = from.read_pack("theta", theta_.front().device()); }

  void save(checkpoint_writer& to) const override {
    to.add("theta", theta());
    llm::save(to, solver_, theta_);
    to.state["evaluations"] = evaluations_;
    if (task_.save) task_.save(to);
  }

  [[nodiscard]] std::string where() const override { return "step " + std::to_string(solver_.inside ? solver_.inside->step + 1 : 1); }
  void prepare_to_write() override { theta_ = divided_pack(model_).known(theta_); }
  void write() const override { task_.write(theta_); }

 private:
  // As it stands, whole.
  [[nodiscard]] pack const& theta() const {
    solver_.complete_theta();
    return theta_;
  }

  void follow() {
    if (task_.follow) task_.follow([this]() -> pack const& { return theta(); }, trainer_.log().global_step());
  }

  causal_lm const& model_;
  one_round_task const& task_;
  trainer trainer_;
  epoch_solver solver_;
  pack theta_;
  json evaluations_ = json::array();
};

}  // namespace

one_round_result run_one_round(run_settings const& settings, process_group const& group, causal_lm const& model, pack theta,
                              one_round_task const& task) {
  return one_round(settings, group, model, std::move(theta), task).run();
}

}  // namespace kedge::llm
