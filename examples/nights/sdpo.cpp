// SPDX-License-Identifier: Apache-2.0

// sDPO on language models: does it matter in which order pairs come, when they are of two sources? One annotator sees rewards as they are and
// compares sentences that differ much; the other one sees them through noise and compares sentences that hardly differ.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/train/preference.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "night.hpp"
#include "tables.hpp"

namespace kedge_nights {
namespace {

using namespace kedge::llm;

struct grid {
  double beta;
  std::vector<double> noises, rates;  // noise: the second annotator's standard deviation, in units of the reward
  std::vector<std::size_t> chunks;
  std::size_t pairs, batch;  // of each annotator; of a step
  double epochs;
};
grid const tiny_grid{0.3, {0, 1}, {5e-5, 2e-4}, {2, 4}, 192, 16, 4};
grid const smollm2_grid{0.1, {0.25}, {2e-5}, {2}, 32, 8, 1};

grid const& grid_of(bool tiny) { return tiny ? tiny_grid : smollm2_grid; }

constexpr std::array orders{chunk_order::easy_to_hard, chunk_order::hard_to_easy, chunk_order::random};
constexpr std::array spans{optimizer_span::round, optimizer_span::run};

struct variant {
  std::string name;
  std::size_t chunks = 1;
  chunk_order order = chunk_order::random;
  optimizer_span span = optimizer_span::round;
  double beta = 1, faster = 1;  // times the grid's
};

std::string sdpo_name(std::size_t chunks, chunk_order order, optimizer_span span) {
  return "sDPO " + std::to_string(chunks) + ", " + std::string(name_of(order)) + ", rate over the " + std::string(name_of(span));
}

std::vector<variant> variants(grid const& g) {
  std::vector<variant> all{{.name = "DPO"}};
  for (std::size_t const chunks : g.chunks) {
    auto const t = static_cast<double>(chunks);
    all.push_back({.name = "DPO, beta / " + std::to_string(chunks), .beta = 1 / t});
    all.push_back({.name = "DPO, rate x " + std::to_string(chunks), .faster = t});
    for (chunk_order const order : orders)
      for (optimizer_span const span : spans) all.push_back({sdpo_name(chunks, order, span), chunks, order, span});
  }
  return all;
}

std::string condition_of(double noise, double rate) { return "noise " + short_number(noise) + ", rate " + short_number(rate); }

// The same of SmolLM2's answers, whose rewards stand beside them, in an order of the seed's. The second annotator's noise is logistic.
std::string answers_of_two(grid const& g, fs::path const& from, double noise, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::pair<std::uint64_t, json>> all;
  std::ifstream in(from);
  for (std::string line; std::getline(in, line);) all.emplace_back(random(), json::parse(line));
  std::ranges::sort(all, {}, [](auto const& drawn) { return drawn.first; });
  std::size_t far = 0, near = 0;
  std::string text;
  for (auto& [key, pair] : all) {
    double const gap = pair.at("score_chosen").get<double>() - pair.at("score_rejected").get<double>();
    bool const clear = gap > 0.8;
    if ((!clear && gap > 0.5) || (clear ? far : near)++ >= g.pairs) continue;
    double const u = static_cast<double>(random() >> 11U) * 0x1p-53;
    if (!clear && gap + noise * std::log(u / (1 - u)) < 0) {
      std::swap(pair.at("chosen"), pair.at("rejected"));
      std::swap(pair.at("score_chosen"), pair.at("score_rejected"));
    }
    text += pair.dump() + "\n";
  }
  return text;
}

// Half of the pairs from each annotator.
fs::path pairs_of(kedge_on_policy::world const& w, grid const& g, double noise, std::uint64_t seed) {
  fs::path file = w.given.output / ("two-sources-" + short_number(noise) + "-" + std::to_string(seed) + ".jsonl");
  if (fs::exists(file)) return file;
  auto const sentences = [&](std::string const& how, std::uint64_t own) {
    return kedge_on_policy::grammar_output("pairs --count " + std::to_string(g.pairs) + " " + how + " --seed " + std::to_string(own + seed));
  };
  write_file_atomically(file, w.given.tiny ? sentences("--min_gap 1.5", 8000) + sentences("--max_gap 0.75 --noise " + short_number(noise), 9000)
                                           : answers_of_two(g, w.given.data / "sentiment-train.jsonl", noise, seed));
  return file;
}

night_run run_of(night const& n, variant const& v, double noise, double rate, std::uint64_t seed) {
  kedge_on_policy::world const& w = n.where;
  grid const& g = grid_of(w.given.tiny);
  std::string const condition = condition_of(noise, rate);
  training_settings s;
  fs::path const folder = w.folder("sdpo " + condition + " " + v.name, seed);
  w.common(s, folder, seed);
  s.logging_steps = 1000;
  s.model = w.base(seed);
  s.loss.beta = v.beta * g.beta;
  s.learning_rate = v.faster * rate;
  s.lr_scheduler_type = lr_scheduler::linear;
  s.num_train_epochs = g.epochs;
  s.per_device_train_batch_size = g.batch;
  if (!w.given.tiny) s.save_dtype = saved_type::bfloat16;
  round_settings r{.method = round_method::sdpo, .chunks = v.chunks, .order = v.order, .optimizer_span = v.span};
  w.sampling(r.sampling);
  r.sampling.prompts.clear();
  s.dataset = {pairs_of(w, g, noise, seed)};
  json settings{{"chunks", v.chunks}, {"order", name_of(v.order)}, {"optimizer", name_of(v.span)}, {"beta", s.loss.beta}, {"rate", s.learning_rate}, {"epochs", s.num_train_epochs},
                {"batch", s.batch()}, {"eval_samples", r.sampling.eval_samples}};
  return {condition, v.name, seed, night_job(folder, std::move(settings), [s, r] {
            auto const result = train_preferences(s, r);
            return result.interrupted ? json() : kedge_on_policy::figures_of(result.policy_evaluations);
          })};
}

// The table of a condition, and its claims.
void add_condition(book const& all, grid const& g, std::string const& condition, std::vector<tested>& claims) {
  if (all.courses(condition, "DPO").size() < 2) return;
  std::printf("### %s\n\n", condition.c_str());
  table t({"method", "final reward", "KL"});
  for (variant const& v : variants(g))
    t.row({v.name, text_of_mean(all.courses(condition, v.name), &course::end), text_of_mean(all.courses(condition, v.name), &course::end_kl)});
  t.print();
  for (std::size_t const chunks : g.chunks)
    for (optimizer_span const span : spans) {
      std::string const easy = sdpo_name(chunks, chunk_order::easy_to_hard, span);
      auto const against = [&](std::string const& other) { return all.differences(condition, easy, other, &course::end); };
      for (chunk_order const other : {chunk_order::hard_to_easy, chunk_order::random})
        claims.push_back(differs(condition + ": " + easy + " differs from " + std::string(name_of(other)), against(sdpo_name(chunks, other, span))));
      claims.push_back(higher(condition + ": " + easy + " ends above DPO", against("DPO")));
      claims.push_back(higher(condition + ": " + easy + " ends above DPO, beta / " + std::to_string(chunks), against("DPO, beta / " + std::to_string(chunks))));
      claims.push_back(higher(condition + ": " + easy + " ends above DPO, rate x " + std::to_string(chunks), against("DPO, rate x " + std::to_string(chunks))));
    }
}

void print_tables(book const& all, bool tiny) {
  grid const& g = grid_of(tiny);
  std::printf("## sDPO, %s, two sources of pairs\n\n%zu pairs each, %s epochs in steps of %zu pairs, beta %s, AdamW from the rate linearly to 0, over each round or over the run. %.2f hours of a processor.\n\n",
              tiny ? "the tiny world" : "SmolLM2", g.pairs, short_number(g.epochs).c_str(), g.batch, short_number(g.beta).c_str(), all.hours());
  std::vector<tested> claims;
  for (double const noise : g.noises)
    for (double const rate : g.rates) add_condition(all, g, condition_of(noise, rate), claims);
  print_claims(std::move(claims), "Of an order the mean difference is tested on both sides.");
}

}  // namespace

void sdpo_sources(night const& n) {
  book all(n.results);
  grid const& g = grid_of(n.where.given.tiny);
  if (n.run) {
    std::vector<night_run> runs;
    for (std::uint64_t seed = 1; seed <= n.where.seeds; ++seed)
      for (double const noise : g.noises)
        for (double const rate : g.rates)
          for (variant const& v : variants(g)) runs.push_back(run_of(n, v, noise, rate, seed));
    run_night(runs, n.where.at_once, all);
  }
  print_tables(all, n.where.given.tiny);
}

}  // namespace kedge_nights
