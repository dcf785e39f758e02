// SPDX-License-Identifier: Apache-2.0

// Online APO against iterative DPO, IPO and SPPO and two null baselines, at equal budget: the same rounds, prompts, samples and gradient
// steps. Each round samples completions from the anchor, has them judged, pairs the best with the worst, and trains on the pairs.

#include <chrono>

#include "report.hpp"

namespace {

using namespace kedge_on_policy;
using namespace kedge::llm;

struct variant {
  std::string name;
  double alpha = 0;
  bool log_probs = false;  // exact extrapolation, sampled from the mixture
  double beta = 0;         // 0: the world's
  double rate = 1;         // times the world's learning rate
  std::string loss = "sigmoid";
  bool drawn = true;       // in the curves
};

round_settings rounds_of(world const& w, variant const& v) {
  bool const tiny = w.name == "tiny";
  round_settings r{.method = round_method::apo, .rounds = w.given.quick ? 2U : tiny ? 8U : 3U, .momentum = v.alpha > 0 ? momentum_choice::constant : momentum_choice::none, .alpha = {v.alpha},
                   .extrapolate = v.log_probs ? extrapolated::log_probs : extrapolated::weights, .prompts_per_round = tiny ? 0U : 16U, .num_samples = 4,
                   .sample_from = v.log_probs ? sampled_policy::mixture : sampled_policy::weights};
  w.sampling(r.sampling);
  return r;
}

double beta_of(world const& w, variant const& v) { return v.beta > 0 ? v.beta : w.name == "tiny" ? 0.3 : 0.1; }

training_settings settings_of(world const& w, variant const& v, std::uint64_t seed) {
  bool const tiny = w.name == "tiny";
  training_settings s;
  w.common(s, w.folder(v.name, seed), seed);
  s.model = w.base(seed);
  s.loss.loss_type = {v.loss};
  s.loss.beta = beta_of(w, v);
  s.learning_rate = v.rate * (!tiny ? 5e-5 : w.given.quick ? 3e-4 : 1e-4);
  s.lr_scheduler_type = tiny ? kedge::llm::lr_scheduler::cosine : kedge::llm::lr_scheduler::constant;
  s.warmup_ratio = tiny ? 0.2 : 0;  // AdamW begins afresh in each round, and its first steps are as long as the rate allows
  s.num_train_epochs = tiny ? 2 : 1;
  s.per_device_train_batch_size = tiny ? 16 : 4;
  if (!tiny) s.save_dtype = saved_type::bfloat16;
  return s;
}

job job_of(world const& w, variant const& v, std::uint64_t seed) {
  training_settings const s = settings_of(w, v, seed);
  round_settings const r = rounds_of(w, v);
  json const described = {{"model", s.model.string()}, {"loss", v.loss}, {"beta", s.loss.beta}, {"alpha", v.alpha}, {"log_probs", v.log_probs},
                          {"rounds", r.rounds}, {"prompts_per_round", r.prompts_per_round}, {"num_samples", r.num_samples}, {"learning_rate", s.learning_rate}, {"lr_scheduler_type", name_of(s.lr_scheduler_type)}, {"warmup_ratio", s.warmup_ratio},
                          {"epochs", s.num_train_epochs}, {"batch", s.batch()}, {"judge", r.sampling.judge}, {"eval_samples", r.sampling.eval_samples},
                          {"max_new_tokens", r.sampling.max_new_tokens}, {"seed", seed}};
  return {s.output_dir, described, [s, r] {
            auto const result = kedge::llm::train_preferences(s, r);
            return result.interrupted ? json() : json{{"effective_beta", result.effective_beta}, {"evaluations", figures_of(result.policy_evaluations)}};
          }};
}

// What APO multiplies a round's step by in the end, under exact dynamics: beta / beta_eq.
double lengthening(world const& w, double alpha) {
  round_settings const r = rounds_of(w, {.name = "", .alpha = alpha});
  return 1 / kedge::llm::effective_beta(r, r.rounds, 1);
}

std::vector<variant> variants(world const& w) {
  auto const null = [&](std::string const& alpha) {
    double const value = std::stod(alpha);
    return variant{.name = "null of " + alpha, .beta = beta_of(w, {}) / lengthening(w, value), .drawn = w.name != "tiny" || w.given.quick || value == 0.5};
  };
  auto const apo = [](std::string const& alpha) { return variant{.name = "APO " + alpha, .alpha = std::stod(alpha)}; };
  auto const rate = [&](std::string const& alpha) { return variant{.name = "rate of " + alpha, .rate = lengthening(w, std::stod(alpha)), .drawn = false}; };
  if (w.given.quick) return {{.name = "iterative DPO"}, apo("0.3"), null("0.3"), {.name = "iterative IPO", .loss = "ipo_sum"}, {.name = "iterative SPPO", .loss = "sppo_hard"}};
  if (w.name != "tiny") return {{.name = "iterative DPO"}, apo("0.5"), null("0.5")};
  return {{.name = "iterative DPO"},
          apo("0.3"),
          null("0.3"),
          rate("0.3"),
          apo("0.5"),
          null("0.5"),
          rate("0.5"),
          {.name = "APO 0.3 log-probs", .alpha = 0.3, .log_probs = true, .drawn = false},
          {.name = "iterative IPO", .loss = "ipo_sum"},
          {.name = "APO 0.3, IPO", .alpha = 0.3, .loss = "ipo_sum"},
          {.name = "iterative SPPO", .loss = "sppo_hard"},
          {.name = "APO 0.3, SPPO", .alpha = 0.3, .loss = "sppo_hard"}};
}

std::vector<method> measure(world const& w) {
  std::vector<job> jobs;
  std::vector<variant> const all = variants(w);
  for (std::uint64_t seed = 1; seed <= w.seeds; ++seed)
    for (variant const& v : all) jobs.push_back(job_of(w, v, seed));
  std::vector<json> const figures = run_jobs(jobs, "runs", w.at_once, w.given.fresh);
  std::vector<method> methods;
  for (variant const& v : all) methods.push_back({.name = v.name, .runs = {}, .effective_beta = 0, .drawn = v.drawn});
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    method& m = methods[i % all.size()];
    m.effective_beta = figures[i].at("effective_beta").get<double>();
    m.runs.push_back(trace_of(figures[i].at("evaluations"), jobs[i].folder));
  }
  return methods;
}

std::vector<claim> claims_of(world const& w, std::vector<method> const& methods) {
  auto const find = [&](std::string const& name) {
    for (method const& m : methods)
      if (m.name == name) return &m;
    return static_cast<method const*>(nullptr);
  };
  auto const final_kl = [](trace const& t) { return t.kl.back(); };
  std::vector<claim> claims{all_rise(methods)};
  method const& plain = *find("iterative DPO");
  for (std::string const alpha : {"0.3", "0.5"}) {
    std::string const name = "APO " + alpha;
    method const *const apo = find(name), *const null = find("null of " + alpha), *const rate = find("rate of " + alpha);
    if (apo == nullptr) continue;
    claims.push_back(above(name + " ends at a higher reward than iterative DPO", reward_difference(*apo, plain)));
    claims.push_back(above(name + " ends farther from the start than iterative DPO", difference(*apo, plain, final_kl), " nats"));
    claims.push_back(above(name + " has more reward than iterative DPO at equal KL", difference_at_equal_kl(*apo, plain)));
    claims.push_back(equal(name + " equals its null baseline", reward_difference(*apo, *null)));
    claims.push_back(above("The null baseline of " + alpha + " ends at a higher reward than iterative DPO", reward_difference(*null, plain)));
    if (rate == nullptr) continue;
    std::string const longer = "iterative DPO with a learning rate " + short_text(lengthening(w, std::stod(alpha))) + " times as large";
    claims.push_back(equal(name + " ends at the reward of " + longer, reward_difference(*apo, *rate)));
    claims.push_back(above(name + " has more reward than " + longer + ", at equal KL", difference_at_equal_kl(*apo, *rate)));
  }
  if (method const* const exact = find("APO 0.3 log-probs"))
    claims.push_back(equal("Extrapolating log-probabilities equals extrapolating weights, at alpha 0.3", reward_difference(*exact, *find("APO 0.3"))));
  for (std::string const loss : {"IPO", "SPPO"}) {
    method const *const other = find("iterative " + loss), *const apo = find("APO 0.3, " + loss);
    if (other == nullptr) continue;
    claims.push_back(equal("Iterative " + loss + " ends at the reward of iterative DPO", reward_difference(*other, plain)));
    claims.push_back(equal("Iterative " + loss + " has the reward of iterative DPO at equal KL", difference_at_equal_kl(*other, plain)));
    if (apo == nullptr) continue;
    claims.push_back(above("APO 0.3 with " + loss + " ends at a higher reward than iterative " + loss, reward_difference(*apo, *other)));
    claims.push_back(above("APO 0.3 with " + loss + " has more reward than iterative " + loss + " at equal KL", difference_at_equal_kl(*apo, *other)));
  }
  return claims;
}

void work(options const& given) {
  auto const begin = std::chrono::steady_clock::now();
  world const w = prepare(given);
  findings f{.title = "Online APO", .introduction =
                 "Accelerated preference optimization with fresh samples: each round samples 4 completions a prompt from the anchor, pairs the best with "
                 "the worst, trains, and extrapolates; without extrapolation it is iterative DPO, IPO or SPPO. All methods have the same rounds, prompts, "
                 "samples and gradient steps. A null baseline is iterative DPO with the beta that APO amounts to under exact dynamics" +
                 std::string(w.name == "tiny" && !given.quick ? "; a rate baseline divides nothing but multiplies the learning rate by the same factor." : "."),
             .how_chosen = w.name == "tiny" ? "Settings: 8 rounds of all 96 prompts, batch 16, 2 epochs a round, AdamW at 1e-4 with a warmup over a fifth of each round and a cosine, beta 0.3 "
                                              "in every loss; IPO on summed log-ratios, SPPO with hard labels. "
                                              "The schedule was chosen so that no round undoes what was learned: at 2e-4 without warmup, one to three seeds of five fall by half a "
                                              "point or more in some round with every method, and recover or don't."
                                            : "Settings: 3 rounds of 16 prompts, batch 4, 1 epoch a round, AdamW at 5e-5 constant, beta 0.1; nothing was tuned.",
             .where = &w, .methods = measure(w), .claims = {}};
  f.claims = claims_of(w, f.methods);
  if (given.quick) f.how_chosen = "A quick run, to see that it works: few rounds, few samples, few methods.";
  f.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  write_report(f);
}

}  // namespace

int main(int argc, char** argv) {
  return guarded(argc, argv, "kedge-online-apo", "Online APO, iterative DPO, IPO and SPPO and their null baselines at equal budget.", work);
}
