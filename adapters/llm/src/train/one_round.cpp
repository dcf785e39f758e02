// SPDX-License-Identifier: Apache-2.0
#include "one_round.hpp"

#include "run_host.hpp"

namespace kedge::llm {

using json = nlohmann::ordered_json;

one_round_result run_one_round(run_settings const& settings, process_group const& group, causal_lm const& model, pack theta,
                              one_round_task const& task) {
  run_host host(settings, model.settings(), model.parameters(), group);
  epoch_solver solver(settings, group);
  std::size_t const steps = solver.steps(task.examples);
  json evaluations = json::array();
  auto const evaluate = [&] {
    if (!task.evaluate) return;
    json figures = task.evaluate(model.weights_for(theta));
    std::string text = "held out:";
    for (auto const& [name, value] : figures.items()) text += ' ' + name + ' ' + short_number(value.get<double>());
    figures["step"] = host.log().global_step();
    host.log().record(figures);
    host.log().say(text);
    evaluations.push_back(std::move(figures));
  };
  auto const save_all = [&](checkpoint_writer& to) {
    to.add("theta", theta);
    save(to, solver, theta);
    to.state["evaluations"] = evaluations;
  };
  auto const restore_all = [&](checkpoint_reader const& from) {
    theta = from.read_pack("theta", theta.front().device());
    restore(from, solver, theta);
    evaluations = from.state.at("evaluations");
  };
  if (!host.begin(steps, task.shown, {save_all, restore_all, task.identity})) {
    host.log().say(task.name + ": " + short_count(parameter_count(model.config())) + " parameters, " +
                   std::string(at::toString(model.settings().type)) + " on " + model.settings().device.str() + "; " +
                   std::to_string(task.examples) + " examples, " + std::to_string(steps) + " steps");
    evaluate();
  }
  solver.on_step = [&](step_report const& report) { return host.after_step(report); };
  kedge::status const ended = solver.solve(model, theta, task.examples, 0, task.step);
  if (ended == kedge::status::done) evaluate();
  host.end(ended, "step " + std::to_string(host.log().global_step() + 1), [&] { task.write(theta); });
  one_round_result result{host.result(), std::move(evaluations)};
  result.train_seconds = solver.seconds;
  return result;
}

}  // namespace kedge::llm
