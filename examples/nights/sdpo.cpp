// SPDX-License-Identifier: Apache-2.0

// sDPO on language models of the tiny world: does it matter in which order pairs come, when they are of two sources? One annotator sees rewards as they are and
// compares sentences that differ much; the other one sees them through noise and compares sentences that hardly differ.

#include <array>
#include <cstdio>
#include <string>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/train/preference.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "night.hpp"
#include "tables.hpp"

namespace kedge_nights {
namespace {

using namespace kedge::llm;

constexpr double beta = 0.3;
constexpr std::array noises{0.0, 1.0}, rates{5e-5, 2e-4};
constexpr std::array<std::size_t, 2> chunk_counts{2, 4};
constexpr std::array orders{chunk_order::easy_to_hard, chunk_order::hard_to_easy, chunk_order::random};
constexpr std::array spans{optimizer_span::round, optimizer_span::run};

struct variant {
  std::string name;
  std::size_t chunks = 1;
  chunk_order order = chunk_order::random;
  optimizer_span span = optimizer_span::round;
  double beta = kedge_nights::beta, faster = 1;
};

std::string sdpo_name(std::size_t chunks, chunk_order order, optimizer_span span) {
  return "sDPO " + std::to_string(chunks) + ", " + std::string(name_of(order)) + ", rate over the " + std::string(name_of(span));
}

std::vector<variant> variants() {
  std::vector<variant> all{{.name = "DPO"}};
  for (std::size_t const chunks : chunk_counts) {
    auto const t = static_cast<double>(chunks);
    all.push_back({.name = "DPO, beta / " + std::to_string(chunks), .beta = beta / t});
    all.push_back({.name = "DPO, rate x " + std::to_string(chunks), .faster = t});
    for (chunk_order const order : orders)
      for (optimizer_span const span : spans) all.push_back({sdpo_name(chunks, order, span), chunks, order, span});
  }
  return all;
}

std::string condition_of(double noise, double rate) { return "noise " + short_number(noise) + ", rate " + short_number(rate); }

// Half of the pairs from each annotator.
fs::path pairs_of(kedge_on_policy::world const& w, double noise, std::uint64_t seed) {
  fs::path file = w.given.output / ("two-sources-" + short_number(noise) + "-" + std::to_string(seed) + ".jsonl");
  if (fs::exists(file)) return file;
  auto const pairs = [&](std::string const& how, std::uint64_t own) {
    return kedge_on_policy::grammar_output("pairs --count 192 " + how + " --seed " + std::to_string(own + seed));
  };
  write_file_atomically(file, pairs("--min_gap 1.5", 8000) + pairs("--max_gap 0.75 --noise " + short_number(noise), 9000));
  return file;
}

night_run run_of(night const& n, variant const& v, double noise, double rate, std::uint64_t seed) {
  kedge_on_policy::world const& w = n.where;
  std::string const condition = condition_of(noise, rate);
  training_settings s;
  fs::path const folder = w.folder("sdpo " + condition + " " + v.name, seed);
  w.common(s, folder, seed);
  s.logging_steps = 1000;
  s.model = w.base(seed);
  s.loss.beta = v.beta;
  s.learning_rate = v.faster * rate;
  s.lr_scheduler_type = lr_scheduler::linear;
  s.num_train_epochs = 4;
  s.per_device_train_batch_size = 16;
  round_settings r{.method = round_method::sdpo, .chunks = v.chunks, .order = v.order, .optimizer_span = v.span};
  w.sampling(r.sampling);
  r.sampling.prompts.clear();
  s.dataset = {pairs_of(w, noise, seed)};
  json settings{{"chunks", v.chunks}, {"order", name_of(v.order)}, {"optimizer", name_of(v.span)}, {"beta", v.beta}, {"rate", s.learning_rate}, {"epochs", s.num_train_epochs},
                {"batch", s.batch()}, {"eval_samples", r.sampling.eval_samples}};
  return {condition, v.name, seed, night_job(folder, std::move(settings), [s, r] {
            auto const result = train_preferences(s, r);
            return result.interrupted ? json() : kedge_on_policy::figures_of(result.policy_evaluations);
          })};
}

// The table of a condition, and its claims.
void add_condition(book const& all, std::string const& condition, std::vector<tested>& claims) {
  if (all.courses(condition, "DPO").size() < 2) return;
  std::printf("### %s\n\n", condition.c_str());
  table t({"method", "final reward", "KL"});
  for (variant const& v : variants())
    t.row({v.name, text_of_mean(all.courses(condition, v.name), &course::end), text_of_mean(all.courses(condition, v.name), &course::end_kl)});
  t.print();
  for (std::size_t const chunks : chunk_counts)
    for (optimizer_span const span : spans) {
      std::string const easy = sdpo_name(chunks, chunk_order::easy_to_hard, span);
      auto const against = [&](std::string const& other) { return all.differences(condition, easy, other, &course::end); };
      for (chunk_order const other : {chunk_order::hard_to_easy, chunk_order::random})
        claims.push_back(differs(condition + ": " + easy + " minus " + std::string(name_of(other)), against(sdpo_name(chunks, other, span))));
      claims.push_back(higher(condition + ": " + easy + " ends above DPO", against("DPO")));
      claims.push_back(higher(condition + ": " + easy + " ends above DPO, beta / " + std::to_string(chunks), against("DPO, beta / " + std::to_string(chunks))));
      claims.push_back(higher(condition + ": " + easy + " ends above DPO, rate x " + std::to_string(chunks), against("DPO, rate x " + std::to_string(chunks))));
    }
}

void print_tables(book const& all) {
  std::printf("## sDPO in the tiny world, two sources of pairs\n\n192 pairs each, 96 steps of 16 pairs in all, beta %.1f, AdamW from the rate linearly to 0, over each round or over the run. %.2f hours of a processor.\n\n", beta, all.hours());
  std::vector<tested> claims;
  for (double const noise : noises)
    for (double const rate : rates) add_condition(all, condition_of(noise, rate), claims);
  print_claims(std::move(claims), "Of an order the mean difference is tested on both sides.");
}

}  // namespace

void sdpo_sources(night const& n) {
  book all(n.results);
  if (n.run) {
    std::vector<night_run> runs;
    for (std::uint64_t seed = 1; seed <= n.where.seeds; ++seed)
      for (double const noise : noises)
        for (double const rate : rates)
          for (variant const& v : variants()) runs.push_back(run_of(n, v, noise, rate, seed));
    run_night(runs, n.where.at_once, all);
  }
  print_tables(all);
}

}  // namespace kedge_nights
