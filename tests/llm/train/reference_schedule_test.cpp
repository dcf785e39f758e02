// SPDX-License-Identifier: Apache-2.0

// Every schedule of the core as a run on language models has it: chosen by text, stopped, saved, restored.

#include <filesystem>
#include <string>
#include <vector>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/train/reference.hpp>

#include "../adapters/llm/src/train/preference_problem.hpp"
#include "../adapters/llm/src/train/run_checkpoint.hpp"
#include "llm/model/plain_model.hpp"
#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::scratch_folder;
namespace fs = std::filesystem;

namespace {

constexpr std::size_t rounds = 3, steps = 2;

// A run on pairs of a tiny model, which `stop_after` steps interrupt.
struct tiny_run {
  explicit tiny_run(schedule_settings const& choice) : schedule(make_schedule(choice)) {
    settings.per_device_train_batch_size = 4;
    settings.max_steps = steps;
    settings.learning_rate = 1e-2;
    problem.solver.on_step = [this](step_report const&) { return stop_after == 0 || --stop_after != 0; };
    if (choice.reference.what == reference_kind::harmonic || choice.reference.what == reference_kind::mkl)
      for (int const seed : {7, 8}) state.anchor.push_back({0.5, plain::random_parameters(config, at::kDouble, seed)});
  }

  kedge::status go() { return kedge::run(state, schedule, problem, rounds); }

  void save(fs::path const& folder) {
    checkpoint_writer to(folder, parameters, alone);
    kedge::llm::save(to, state);
    kedge::llm::save(to, problem.solver, state.theta);
    to.commit();
  }
  void restore(fs::path const& folder) {
    checkpoint_reader const from(folder, parameters);
    kedge::llm::restore(from, state);
    kedge::llm::restore(from, problem.solver, state.theta);
  }

  transformer_config config = plain::tiny_config(false);
  training_settings settings;
  process_group alone;
  causal_lm model{config, {.type = at::kDouble}};
  std::vector<kedge::llm::parameter> const parameters = model.parameters();
  round_pairs pairs = std::make_shared<std::vector<preference_pair> const>(plain::random_pairs(8, config.vocabulary, 8));
  chosen_schedule schedule;
  training_state state{plain::random_parameters(config, at::kDouble, 31)};
  preference_problem problem{model, settings, {make_loss(settings.loss)}, [this](training_state const&) { return pairs; }};
  std::size_t stop_after = 0;
};

bool same_bits(pack const& a, pack const& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!at::equal(a[i], b[i])) return false;
  return a.size() == b.size();
}

schedule_settings of(std::string const& text) { return {.reference = parse_reference(text, reference_kind::hand_off)}; }

std::vector<schedule_settings> all_schedules() {
  std::vector<schedule_settings> all;
  for (char const* text : {"hand-off", "start", "ema:tau=0.3", "ema:every=2", "bema", "bema:kappa=0.7,every=2", "mean", "inpo:rho=0.2",
                           "magnet:weight=0.4,every=2", "halpern", "recent:0.5,0.3,0.2", "harmonic:a,b", "mkl:a,b"})
    all.push_back(of(text));
  for (momentum_choice const rule : {momentum_choice::constant, momentum_choice::nesterov, momentum_choice::fista, momentum_choice::strongly_convex})
    all.push_back({.momentum = rule, .kappa = 9});
  all.push_back({.momentum = momentum_choice::constant, .log_probs = true});
  return all;
}

std::string label(schedule_settings const& s) {
  return std::string(name_of(s.reference.what)) + ", momentum " + std::string(name_of(s.momentum)) + (s.log_probs ? ", log-probs" : "");
}

}  // namespace

TEST_CASE("every schedule, stopped at every step, saved and restored, ends in the undisturbed run's bits", "[reference]") {
  for (schedule_settings const& choice : all_schedules()) {
    INFO(label(choice));
    scratch_folder const folder;
    tiny_run whole(choice);
    REQUIRE(whole.go() == kedge::status::done);
    std::size_t stops = 0;
    for (kedge::status ended = kedge::status::stopped; ended != kedge::status::done; ++stops) {
      tiny_run part(choice);
      if (stops != 0) part.restore(folder / std::to_string(stops));
      part.stop_after = 1;
      ended = part.go();
      part.save(folder / std::to_string(stops + 1));
      if (ended == kedge::status::done) CHECK(same_bits(part.state.theta, whole.state.theta));
    }
    CHECK(stops == rounds * steps + 1);
  }
}

TEST_CASE("references differ from the second round on, and every one is used", "[reference]") {
  std::vector<pack> results;
  for (char const* text : {"hand-off", "start", "ema:tau=0.3", "bema", "mean", "inpo", "halpern", "recent:0.5,0.3,0.2", "harmonic:a,b", "mkl:a,b"}) {
    tiny_run run(of(text));
    REQUIRE(run.go() == kedge::status::done);
    for (pack const& other : results) CHECK_FALSE(same_bits(other, run.state.theta));
    results.push_back(run.state.theta);
  }
}

TEST_CASE("a checkpoint of one schedule is refused by another", "[reference]") {
  scratch_folder const folder;
  tiny_run first(of("bema"));
  first.stop_after = steps + 1;
  REQUIRE(first.go() == kedge::status::stopped);
  first.save(folder / "a");
  tiny_run other(of("ema"));
  other.restore(folder / "a");
  CHECK_THROWS_WITH(other.go(), contains("the run began under reference schedule"));
}

TEST_CASE("a reference is read once, and what is not known is refused in one line that lists what is", "[reference]") {
  CHECK(parse_reference("").what == reference_kind::start);
  CHECK(parse_reference("", reference_kind::hand_off).what == reference_kind::hand_off);
  reference_choice const ema = parse_reference("ema:tau=0.25,every=3");
  CHECK(ema.numbers == std::vector<std::pair<std::string, double>>{{"tau", 0.25}, {"every", 3}});
  CHECK(parse_reference("recent:0.7,0.3").weights == std::vector<double>{0.7, 0.3});
  CHECK(parse_reference("models/a").models == std::vector<fs::path>{"models/a"});
  CHECK_THROWS_WITH(parse_reference("emma"), "--reference emma is not known; give hand-off, start, ema, bema, mean, inpo, magnet, halpern, recent, "
                                             "harmonic, soup or mkl, or a model's folder");
  CHECK_THROWS_WITH(parse_reference("ema:tua=0.5"), "--reference ema: parameter 'tua' is not known; it has every = 1 in [1, 1e+09], tau = 0.6 in [0, 1]");
  CHECK_THROWS_WITH(parse_reference("start:tau=1"), contains("parameter 'tau' is not known; it has none"));
  CHECK_THROWS_WITH(parse_reference("ema:tau=1.5"), "--reference: tau = 1.5; it must be in [0, 1]");
  CHECK_THROWS_WITH(parse_reference("ema:tau=nan"), contains("'nan' is not a number"));
  CHECK_THROWS_WITH(parse_reference("ema:tau=1e999"), contains("is not a number"));
  CHECK_THROWS_WITH(parse_reference("ema:tau"), contains("tau = nan; it must be in [0, 1]"));
  CHECK_THROWS_WITH(parse_reference("ema:every=1.5"), contains("it must be a whole number in [1, 1e+09]"));
  CHECK_THROWS_WITH(parse_reference("bema:rho=0"), contains("rho = 0; it must be in [1, inf)"));
  CHECK_THROWS_WITH(parse_reference("recent:0.5,0.6"), contains("sum to 1.1"));
  CHECK_THROWS_WITH(parse_reference("harmonic:a,b@1.5,-0.5"), contains("must not be negative"));
  CHECK_THROWS_WITH(make_schedule({.reference = parse_reference("ema"), .momentum = momentum_choice::constant}),
                    contains("it goes with --reference hand-off, not with ema"));
}

TEST_CASE("the description of references names every one, and every parameter of the core", "[reference]") {
  std::string const text = describe_references();
  for (auto const& row : names(reference_kind{})) CHECK_THAT(text, contains(std::string(row.name) + ": "));
  CHECK_THAT(text, contains("kappa = 0.5 in [0, inf), eta = 0.2 in [0, inf), rho = 10 in [1, inf), gamma = 1 in [0, inf)"));
}

TEST_CASE("the documentation lists every reference with its parameters", "[reference]") {
  std::string const page = kedge::testing::read_file(std::filesystem::path(KEDGE_PROJECT_DIR) / "docs/command-line.md");
  std::istringstream all(kedge::llm::describe_references());
  for (std::string line; std::getline(all, line);) CHECK_THAT(page, kedge::testing::contains("- " + line + "\n"));
}
