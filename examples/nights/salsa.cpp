// SPDX-License-Identifier: Apache-2.0

// SALSA where it can matter: the reward that is trained for is a reward model of few pairs, a proxy, and the grammar's exact reward, the gold, is only
// looked at. As PPO over-optimises the proxy the gold falls behind: does a soup as reference give more gold at the same KL to the start?

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <string>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/train/ppo.hpp>
#include <kedge/llm/train/reward.hpp>
#include <kedge/llm/train/sft.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "../on_policy/report.hpp"
#include "night.hpp"
#include "tables.hpp"

namespace kedge_nights {
namespace {

using namespace kedge::llm;
using kedge_on_policy::world;

// Declared before any run: differences in gold reward below this count as none.
constexpr double margin = 0.05;
constexpr std::size_t pairs_of_proxy = 96, updates = 30, measured_every = 5;
constexpr std::array kl_coefs{0.1, 0.3, 1.0};  // at 0.03 the gold falls from the start, at 3 nothing moves but by chance

// Models of one base, each fine-tuned on sentences of its own; the last one on few of them, and for longer: it is worse.
struct member {
  std::size_t sentences;
  double epochs;
};
constexpr std::array<member, 4> members{{{300, 10}, {300, 10}, {300, 10}, {30, 40}}};

struct variant {
  std::string name, reference;  // of members by number: "start", "ema", or e.g. "0,1"
};
std::array<variant, 6> const variants{{{"PPO", "start"}, {"PPO, moving average", "ema:tau=0.1"}, {"SALSA of two", "0,1"}, {"SALSA of three", "0,1,2"},
                                       {"SALSA with a worse one", "0,3"}, {"the second model alone", "1"}}};

fs::path tuned(world const& w, std::size_t k, std::uint64_t seed) { return w.folder("member-" + std::to_string(k), seed); }
fs::path proxy(world const& w, std::uint64_t seed) { return w.folder("proxy", seed); }

job tuning(world const& w, std::size_t k, std::uint64_t seed) {
  sft_settings s;
  w.common(s, tuned(w, k, seed), 100 * seed + k);
  s.model = w.base(seed);
  s.dataset = w.given.output / ("member-" + std::to_string(k) + "-" + std::to_string(seed) + ".jsonl");
  kedge_on_policy::write_sentences(s.dataset, members.at(k).sentences, 5000 * seed + k);
  s.learning_rate = 2e-3;
  s.lr_scheduler_type = lr_scheduler::cosine;
  s.num_train_epochs = members.at(k).epochs;
  s.per_device_train_batch_size = 16;
  return kedge_on_policy::fine_tuning(s);
}

job learning_proxy(world const& w, std::uint64_t seed) {
  reward_settings s;
  w.common(s, proxy(w, seed), seed);
  s.model = w.base(seed);
  s.dataset = w.given.output / ("proxy-" + std::to_string(seed) + ".jsonl");
  write_file_atomically(s.dataset, kedge_on_policy::grammar_output("pairs --count " + std::to_string(pairs_of_proxy) + " --seed " + std::to_string(6000 + seed)));
  s.learning_rate = 5e-4;
  s.lr_scheduler_type = lr_scheduler::cosine;
  s.num_train_epochs = 6;
  s.per_device_train_batch_size = 16;
  return {s.output_dir, {{"pairs", pairs_of_proxy}, {"rate", s.learning_rate}, {"epochs", s.num_train_epochs}}, [s] { return train_reward(s).interrupted ? json() : json::object(); }};
}

reference_choice reference_of(world const& w, variant const& v, std::uint64_t seed) {
  if (v.reference == "start" || v.reference.starts_with("ema")) return parse_reference(v.reference);
  reference_choice soup{.what = reference_kind::soup};
  for (char const c : v.reference)
    if (c != ',') soup.models.push_back(tuned(w, static_cast<std::size_t>(c - '0'), seed));
  return soup;
}

std::string condition_of(double kl_coef) { return "kl_coef " + short_number(kl_coef); }

night_run run_of(night const& n, variant const& v, double kl_coef, std::uint64_t seed) {
  world const& w = n.where;
  std::string const condition = condition_of(kl_coef);
  ppo_settings s;
  fs::path const folder = w.folder("salsa-gold " + condition + " " + v.name, seed);
  w.common(s, folder, seed);
  w.sampling(s.sampling);
  s.sampling.eval_judge = std::exchange(s.sampling.judge, "");
  s.sampling.reward_model = proxy(w, seed);
  s.model = tuned(w, 0, seed);
  s.reference = reference_of(w, v, seed);
  s.per_device_train_batch_size = 32;
  s.num_mini_batches = 4;
  s.num_train_epochs = 2;
  s.total_episodes = updates * s.episodes_per_update();
  s.eval_strategy = interval::steps;
  s.eval_steps = measured_every;
  s.learning_rate = 3e-4;
  s.lr_scheduler_type = lr_scheduler::constant;
  s.kl_coef = kl_coef;
  s.value_model = "shared";
  json settings{{"reference", v.reference}, {"kl_coef", kl_coef}, {"updates", updates}, {"completions", s.episodes_per_update()}, {"mini_batches", s.num_mini_batches},
                {"epochs", s.num_train_epochs}, {"rate", s.learning_rate}, {"proxy_pairs", pairs_of_proxy}, {"eval_samples", s.sampling.eval_samples}};
  return {condition, v.name, seed, night_job(folder, std::move(settings), [s] {
            auto const result = train_ppo(s);
            return result.interrupted ? json() : kedge_on_policy::figures_of(result.evaluations);
          })};
}

double best_gold(course const& c) { return std::ranges::max(c.reward); }

// Where the run first had a KL; a run that never left its start, there.
double gold_at(course const& c, double kl) {
  double const gold = kedge_on_policy::reward_at(c.reward, c.kl, kl);
  return std::isnan(gold) ? c.reward.front() : gold;
}

// a − b by seed, both at the KL that the nearer of the two has reached.
std::vector<double> at_equal_kl(book const& all, std::string const& condition, std::string const& a, std::string const& b) {
  return all.compare(condition, a, b, [](course const& x, course const& y) {
    double const kl = std::min(std::ranges::max(x.kl), std::ranges::max(y.kl));
    return gold_at(x, kl) - gold_at(y, kl);
  });
}

void print_tables(book const& all) {
  std::printf("## SALSA in the tiny world, a proxy trained for and the gold measured\n\nA reward model of %zu pairs; %zu updates of 128 completions. %.2f hours of a processor.\n\n", pairs_of_proxy,
              updates, all.hours());
  std::vector<tested> claims;
  for (double const kl_coef : kl_coefs) {
    std::string const condition = condition_of(kl_coef);
    if (all.courses(condition, "PPO").size() < 2) continue;
    std::printf("### %s\n\n", condition.c_str());
    table t({"method", "gold at the end", "highest gold", "fall from it", "ends below the start", "KL to the start"});
    for (variant const& v : variants) {
      std::vector<course> const runs = all.courses(condition, v.name);
      t.row({v.name, text_of_mean(runs, &course::end), text_of_mean(runs, best_gold), text_of_mean(runs, [](course const& c) { return best_gold(c) - c.end(); }),
             std::to_string(std::ranges::count_if(runs, [](course const& c) { return c.end() < c.reward.front(); })) + " of " + std::to_string(runs.size()), text_of_mean(runs, &course::end_kl)});
    }
    t.print();
    for (std::size_t i = 1; i < variants.size(); ++i) {
      std::string const& name = variants.at(i).name;
      claims.push_back(differs(condition + ": final gold, " + name + " differs from PPO", all.differences(condition, name, "PPO", &course::end)));
      claims.push_back(differs(condition + ": gold at equal KL, " + name + " differs from PPO", at_equal_kl(all, condition, name, "PPO")));
    }
  }
  print_claims(std::move(claims), "Mean differences are tested on both sides; those below " + short_number(margin) + " count as none whatever their p.");
}

}  // namespace

void salsa_gold(night const& n) {
  if (!n.where.given.tiny) throw error("salsa-gold: only the tiny world has an exact reward; add --tiny");
  book all(n.results);
  if (n.run) {
    std::vector<job> before;
    std::vector<night_run> runs;
    for (std::uint64_t seed = 1; seed <= n.where.seeds; ++seed) {
      for (std::size_t k = 0; k < members.size(); ++k) before.push_back(tuning(n.where, k, seed));
      before.push_back(learning_proxy(n.where, seed));
      for (double const kl_coef : kl_coefs)
        for (variant const& v : variants) runs.push_back(run_of(n, v, kl_coef, seed));
    }
    if (std::ranges::any_of(runs, [&](night_run const& run) { return !all.has(run); })) kedge_on_policy::run_jobs(before, "models", n.where.at_once, false);
    run_night(runs, n.where.at_once, all);
  }
  print_tables(all);
}

}  // namespace kedge_nights
