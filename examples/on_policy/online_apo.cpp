// SPDX-License-Identifier: Apache-2.0

// Online APO against iterative DPO and the null baseline, at equal budget: the same rounds, prompts, samples and gradient steps.
// Each round samples completions from the anchor, has them judged, pairs the best with the worst, and trains on the pairs.

#include <chrono>

#include "report.hpp"

namespace {

using namespace kedge_on_policy;
using kedge::llm::round_settings;
using kedge::llm::training_settings;

struct variant {
  std::string name;
  double alpha = 0;
  bool log_probs = false;  // exact extrapolation, sampled from the mixture
  double beta = 0;         // 0: the world's
};

round_settings rounds_of(world const& w, variant const& v) {
  bool const tiny = w.name == "tiny";
  round_settings r{.method = "apo", .rounds = w.given.quick ? 2U : tiny ? 8U : 3U, .momentum = v.alpha > 0 ? "constant" : "none", .alpha = {v.alpha},
                   .extrapolate = v.log_probs ? "log-probs" : "weights", .prompts_per_round = tiny ? 0U : 16U, .num_samples = 4,
                   .sample_from = v.log_probs ? "mixture" : "weights"};
  w.sampling(r.sampling);
  return r;
}

double beta_of(world const& w, variant const& v) { return v.beta > 0 ? v.beta : w.name == "tiny" ? 0.3 : 0.1; }

training_settings settings_of(world const& w, variant const& v, std::uint64_t seed) {
  bool const tiny = w.name == "tiny";
  training_settings s;
  w.common(s, w.folder(v.name, seed), seed);
  s.model = w.base(seed);
  s.loss.beta = beta_of(w, v);
  s.learning_rate = !tiny ? 5e-5 : w.given.quick ? 3e-4 : 1e-4;
  s.lr_scheduler_type = tiny ? "cosine" : "constant";
  s.warmup_ratio = tiny ? 0.2 : 0;  // AdamW begins afresh in each round, and its first steps are as long as the rate allows
  s.num_train_epochs = tiny ? 2 : 1;
  s.per_device_train_batch_size = tiny ? 16 : 4;
  if (!tiny) s.save_dtype = "bfloat16";
  return s;
}

job job_of(world const& w, variant const& v, std::uint64_t seed) {
  training_settings const s = settings_of(w, v, seed);
  round_settings const r = rounds_of(w, v);
  json const described = {{"model", s.model.string()}, {"beta", s.loss.beta}, {"alpha", v.alpha}, {"log_probs", v.log_probs},
                          {"rounds", r.rounds}, {"prompts_per_round", r.prompts_per_round}, {"num_samples", r.num_samples}, {"learning_rate", s.learning_rate}, {"lr_scheduler_type", s.lr_scheduler_type}, {"warmup_ratio", s.warmup_ratio},
                          {"epochs", s.num_train_epochs}, {"batch", s.batch()}, {"judge", r.sampling.judge}, {"eval_samples", r.sampling.eval_samples},
                          {"max_new_tokens", r.sampling.max_new_tokens}, {"seed", seed}};
  return {s.output_dir, described, [s, r] {
            auto const result = kedge::llm::train_preferences(s, r);
            return result.interrupted ? json() : json{{"effective_beta", result.effective_beta}, {"evaluations", figures_of(result.policy_evaluations)}};
          }};
}

std::vector<variant> variants(world const& w) {
  auto const null = [&](double alpha) {
    variant const v{.name = "", .alpha = alpha};
    return kedge::llm::effective_beta(rounds_of(w, v), rounds_of(w, v).rounds, beta_of(w, v));
  };
  if (w.given.quick) return {{.name = "iterative DPO"}, {.name = "APO 0.3", .alpha = 0.3}, {.name = "null of 0.3", .beta = null(0.3)}};
  if (w.name != "tiny") return {{.name = "iterative DPO"}, {.name = "APO 0.5", .alpha = 0.5}, {.name = "null of 0.5", .beta = null(0.5)}};
  return {{.name = "iterative DPO"},
          {.name = "APO 0.3", .alpha = 0.3},
          {.name = "null of 0.3", .beta = null(0.3)},
          {.name = "APO 0.5", .alpha = 0.5},
          {.name = "null of 0.5", .beta = null(0.5)},
          {.name = "APO 0.3 log-probs", .alpha = 0.3, .log_probs = true}};
}

std::vector<method> measure(world const& w) {
  std::vector<job> jobs;
  std::vector<variant> const all = variants(w);
  for (std::uint64_t seed = 1; seed <= w.seeds; ++seed)
    for (variant const& v : all) jobs.push_back(job_of(w, v, seed));
  std::vector<json> const figures = run_jobs(jobs, "runs", w.at_once, w.given.fresh);
  std::vector<method> methods;
  for (variant const& v : all) methods.push_back({.name = v.name, .runs = {}});
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    method& m = methods[i % all.size()];
    m.effective_beta = figures[i].at("effective_beta").get<double>();
    m.runs.push_back(trace_of(figures[i].at("evaluations"), jobs[i].folder));
  }
  return methods;
}

std::vector<claim> claims_of(std::vector<method> const& methods) {
  auto const find = [&](std::string const& name) {
    for (method const& m : methods)
      if (m.name == name) return &m;
    return static_cast<method const*>(nullptr);
  };
  auto const final_kl = [](trace const& t) { return t.kl.back(); };
  std::vector<claim> claims{all_rise(methods)};
  method const& plain = *find("iterative DPO");
  for (std::string const alpha : {"0.3", "0.5"}) {
    method const* const apo = find("APO " + alpha);
    method const* const null = find("null of " + alpha);
    if (apo == nullptr) continue;
    claims.push_back(above("APO " + alpha + " ends at a higher reward than iterative DPO", reward_difference(*apo, plain)));
    claims.push_back(above("APO " + alpha + " ends farther from the start than iterative DPO", difference(*apo, plain, final_kl), " nats"));
    claims.push_back(above("APO " + alpha + " has more reward than iterative DPO at equal KL", difference_at_equal_kl(*apo, plain)));
    claims.push_back(equal("APO " + alpha + " equals its null baseline", reward_difference(*apo, *null)));
    claims.push_back(above("The null baseline of " + alpha + " ends at a higher reward than iterative DPO", reward_difference(*null, plain)));
  }
  if (method const* const exact = find("APO 0.3 log-probs"))
    claims.push_back(equal("Extrapolating log-probabilities equals extrapolating weights, at alpha 0.3", reward_difference(*exact, *find("APO 0.3"))));
  return claims;
}

void work(options const& given) {
  auto const begin = std::chrono::steady_clock::now();
  world const w = prepare(given);
  findings f{.title = "Online APO", .introduction =
                 "Accelerated preference optimization with fresh samples: each round samples 4 completions a prompt from the anchor, pairs the best with "
                 "the worst, trains, and extrapolates. All methods have the same rounds, prompts, samples and gradient steps. The null baseline is iterative "
                 "DPO with the beta that APO amounts to under exact dynamics.",
             .how_chosen = w.name == "tiny" ? "Settings: 8 rounds of all 96 prompts, batch 16, 2 epochs a round, AdamW at 1e-4 with a warmup over a fifth of each round and a cosine, beta 0.3. "
                                              "The schedule was chosen so that no round undoes what was learned: at 2e-4 without warmup, one to three seeds of five fall by half a "
                                              "point or more in some round with every method, and recover or don't."
                                            : "Settings: 3 rounds of 16 prompts, batch 4, 1 epoch a round, AdamW at 5e-5 constant, beta 0.1; nothing was tuned.",
             .where = &w, .methods = measure(w), .claims = {}};
  f.claims = claims_of(f.methods);
  if (given.quick) f.how_chosen = "A quick run, to see that it works: few rounds, few samples, few methods.";
  f.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  write_report(f);
}

}  // namespace

int main(int argc, char** argv) {
  return guarded(argc, argv, "kedge-online-apo", "Online APO, iterative DPO and the null baseline at equal budget.", work);
}
