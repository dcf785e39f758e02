// SPDX-License-Identifier: Apache-2.0

// APO on language models, against the null baselines of (7′) at every number of steps and rate: does momentum between rounds do what a smaller beta and a
// larger rate don't?

#include <array>
#include <cstdio>
#include <string>

#include <kedge/lab/statistics.hpp>
#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/train/null_baseline.hpp>
#include <kedge/llm/train/preference.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "night.hpp"
#include "tables.hpp"

namespace kedge_nights {
namespace {

using namespace kedge::llm;

struct grid {
  std::size_t rounds, batch;
  double beta;
  std::vector<std::size_t> steps;  // of a round
  std::vector<double> rates, alphas;
  double margin;  // declared before any run: differences in reward below this count as none
};
// A perfect sentence has 3.75, the start −0.6.
grid const tiny_grid{8, 8, 0.3, {3, 12, 48, 192}, {5e-5, 2e-4, 8e-4}, {0.3, 0.6}, 0.05};
// A sentiment is between −1 and 1, the start's 0.2.
grid const smollm2_grid{3, 4, 0.1, {6}, {2e-5}, {0.6}, 0.05};

grid const& grid_of(bool tiny) { return tiny ? tiny_grid : smollm2_grid; }

struct variant {
  std::string name;
  double alpha = 0;
  null_choice null = null_choice::none;
  bool keeps_optimizer = false;  // from round to round
  bool one_reference = false;    // beta / T against the start, all steps in one round: no anchor moves
};

std::string apo_name(double alpha) { return "APO " + short_number(alpha); }
std::string null_name(null_choice choice, double alpha) { return std::string(name_of(choice)) + " of " + short_number(alpha); }

std::vector<variant> variants(bool tiny) {
  std::vector<variant> all{{.name = "plain"}};
  if (tiny) {
    all.push_back({.name = "plain, optimizer kept", .keeps_optimizer = true});
    all.push_back({.name = "one reference, beta / T", .one_reference = true});
  }
  for (double const alpha : grid_of(tiny).alphas) {
    all.push_back({.name = apo_name(alpha), .alpha = alpha});
    for (null_choice const choice : {null_choice::beta, null_choice::rate, null_choice::both})
      all.push_back({.name = null_name(choice, alpha), .alpha = alpha, .null = choice});
  }
  return all;
}

std::string condition_of(std::size_t steps, double rate) { return "K " + std::to_string(steps) + ", rate " + short_number(rate); }

// A file of pairs for a seed: sentences of the language, the better one chosen; or the answers of SmolLM2.
fs::path pairs_of(kedge_on_policy::world const& w, std::uint64_t seed) {
  if (!w.given.tiny) return w.given.data / "sentiment-train.jsonl";
  fs::path file = w.given.output / ("pairs-" + std::to_string(seed) + ".jsonl");
  if (!fs::exists(file)) write_file_atomically(file, kedge_on_policy::grammar_output("pairs --count 384 --seed " + std::to_string(7000 + seed)));
  return file;
}

night_run run_of(night const& n, variant const& v, std::size_t steps, double rate, bool online, std::uint64_t seed) {
  kedge_on_policy::world const& w = n.where;
  grid const& g = grid_of(w.given.tiny);
  std::string const condition = condition_of(steps, rate);
  training_settings s;
  fs::path const folder = w.folder(std::string(online ? "online" : "offline") + " " + condition + " " + v.name, seed);
  w.common(s, folder, seed);
  s.logging_steps = 1000;
  s.model = w.base(seed);
  s.loss.beta = g.beta;
  s.learning_rate = rate;
  s.lr_scheduler_type = lr_scheduler::constant;
  s.per_device_train_batch_size = g.batch;
  s.max_steps = steps;
  if (!w.given.tiny) s.save_dtype = saved_type::bfloat16;
  round_settings r{.method = round_method::apo,
                   .rounds = g.rounds,
                   .momentum = v.alpha > 0 ? momentum_choice::constant : momentum_choice::none,
                   .alpha = {v.alpha},
                   .optimizer_span = v.keeps_optimizer ? optimizer_span::run : optimizer_span::round,
                   .null = v.null,
                   .num_samples = 4};
  if (v.one_reference) {
    s.loss.beta /= static_cast<double>(g.rounds);
    r.reference = parse_reference("start");
    r.optimizer_span = optimizer_span::run;
  }
  w.sampling(r.sampling);
  if (online) {
    r.prompts_per_round = w.given.tiny ? 0 : steps * g.batch;
  } else {
    r.sampling.prompts.clear();
    s.dataset.assign(g.rounds, pairs_of(w, seed));
  }
  make_null_baseline(s, r);
  json settings{{"rounds", g.rounds}, {"steps", steps}, {"rate", s.learning_rate}, {"beta", s.loss.beta}, {"alpha", v.alpha}, {"batch", s.batch()},
                {"optimizer", name_of(r.optimizer_span)}, {"online", online}, {"eval_samples", r.sampling.eval_samples}};
  return {condition, v.name, seed, night_job(folder, std::move(settings), [s, r] {
            auto const result = train_preferences(s, r);
            return result.interrupted ? json() : kedge_on_policy::figures_of(result.policy_evaluations);
          })};
}

void print_tables(book const& all, bool tiny, bool online) {
  grid const& g = grid_of(tiny);
  std::printf("## APO, %s, %s\n\n%zu rounds, batch %zu, beta %s, AdamW at a constant rate. Area: the mean height of the reward's curve, against steps and against samples alike. %.2f hours of a processor.\n\n", tiny ? "the tiny world" : "SmolLM2",
              online  ? "fresh pairs each round"
              : tiny ? "the same 384 pairs in each round"
                     : "the sentiment pairs in each round",
              g.rounds, g.batch, short_number(g.beta).c_str(), all.hours());
  std::vector<tested> claims;
  for (double const rate : g.rates)
    for (std::size_t const steps : g.steps) {
      std::string const condition = condition_of(steps, rate);
      if (all.courses(condition, "plain").size() < 2) continue;
      std::printf("### %s\n\n", condition.c_str());
      table t({"method", "final reward", "area", "KL"});
      for (variant const& v : variants(tiny))
        t.row({v.name, text_of_mean(all.courses(condition, v.name), &course::end), text_of_mean(all.courses(condition, v.name), &course::area),
               text_of_mean(all.courses(condition, v.name), &course::end_kl)});
      t.print();
      for (double const alpha : g.alphas) {
        auto const against = [&](std::string const& other) { return all.differences(condition, apo_name(alpha), other, &course::end); };
        std::string const what = condition + ": " + apo_name(alpha);
        std::string const both = null_name(null_choice::both, alpha);
        claims.push_back(equivalent(what + " ends where both ends", against(both), g.margin));
        claims.push_back(equivalent(what + " has the area of both", all.differences(condition, apo_name(alpha), both, &course::area), g.margin));
        for (null_choice const half : {null_choice::beta, null_choice::rate})
          claims.push_back(higher(what + " ends above " + std::string(name_of(half)) + " alone", against(null_name(half, alpha))));
        claims.push_back(higher(what + " ends above plain rounds", against("plain")));
      }
    }
  print_claims(std::move(claims), "Equivalence: the difference is within " + short_number(g.margin) + ".");
}

void work(night const& n, bool online) {
  book all(n.results);
  bool const tiny = n.where.given.tiny;
  grid const& g = grid_of(tiny);
  if (n.run) {
    std::vector<night_run> runs;
    for (std::uint64_t seed = 1; seed <= n.where.seeds; ++seed)
      for (double const rate : g.rates)
        for (std::size_t const steps : g.steps)
          for (variant const& v : variants(tiny)) runs.push_back(run_of(n, v, steps, rate, online, seed));
    run_night(runs, n.where.at_once, all);
  }
  print_tables(all, tiny, online);
}

}  // namespace

void apo_offline(night const& given) { work(given, false); }
void apo_online(night const& given) { work(given, true); }

}  // namespace kedge_nights
