// SPDX-License-Identifier: Apache-2.0

// Online APO against iterative DPO, IPO and SPPO and the null baselines of (7′), at equal budget: the same rounds, prompts, samples and gradient
// steps. Each round samples completions from the anchor, has them judged, pairs the best with the worst, and trains on the pairs.

#include <chrono>

#include <kedge/llm/train/null_baseline.hpp>

#include "report.hpp"

namespace {

using namespace kedge_on_policy;
using namespace kedge::llm;

struct variant {
  std::string name;
  double alpha = 0;
  bool log_probs = false;  // exact extrapolation, sampled from the mixture
  std::string loss = "sigmoid";
  null_choice null = null_choice::none;
  bool drawn = true;  // in the curves
};

round_settings rounds_of(world const& w, variant const& v) {
  bool const tiny = w.name == "tiny";
  round_settings r{.method = round_method::apo,
                   .rounds = w.given.quick ? 2U
                             : tiny        ? 8U
                                           : 3U,
                   .momentum = v.alpha > 0 ? momentum_choice::constant : momentum_choice::none,
                   .alpha = {v.alpha},
                   .extrapolate = v.log_probs ? extrapolated::log_probs : extrapolated::weights,
                   .null = v.null,
                   .prompts_per_round = tiny ? 0U : 16U,
                   .num_samples = 4,
                   .sample_from = v.log_probs ? sampled_policy::mixture : sampled_policy::weights};
  w.sampling(r.sampling);
  return r;
}

training_settings settings_of(world const& w, variant const& v, std::uint64_t seed) {
  bool const tiny = w.name == "tiny";
  training_settings s;
  w.common(s, w.folder(v.name, seed), seed);
  s.model = w.base(seed);
  s.loss.loss_type = {v.loss};
  s.loss.beta = tiny ? 0.3 : 0.1;
  s.learning_rate = !tiny ? 5e-5 : w.given.quick ? 3e-4 : 1e-4;
  s.lr_scheduler_type = tiny ? kedge::llm::lr_scheduler::cosine : kedge::llm::lr_scheduler::constant;
  s.warmup_ratio = tiny ? 0.2 : 0;  // AdamW begins afresh in each round, and its first steps are as long as the rate allows
  s.num_train_epochs = tiny ? 2 : 1;
  s.per_device_train_batch_size = tiny ? 16 : 4;
  if (!tiny) s.save_dtype = saved_type::bfloat16;
  return s;
}

job job_of(world const& w, variant const& v, std::uint64_t seed) {
  training_settings s = settings_of(w, v, seed);
  round_settings r = rounds_of(w, v);
  make_null_baseline(s, r);
  json const described = {{"model", s.model.string()},
                          {"loss", v.loss},
                          {"beta", s.loss.beta},
                          {"alpha", v.alpha},
                          {"null", name_of(v.null)},
                          {"log_probs", v.log_probs},
                          {"rounds", r.rounds},
                          {"prompts_per_round", r.prompts_per_round},
                          {"num_samples", r.num_samples},
                          {"learning_rate", s.learning_rate},
                          {"lr_scheduler_type", name_of(s.lr_scheduler_type)},
                          {"warmup_ratio", s.warmup_ratio},
                          {"epochs", s.num_train_epochs},
                          {"batch", s.batch()},
                          {"judge", r.sampling.judge},
                          {"eval_samples", r.sampling.eval_samples},
                          {"max_new_tokens", r.sampling.max_new_tokens},
                          {"seed", seed}};
  return {s.output_dir, described, [s, r] {
            auto const result = kedge::llm::train_preferences(s, r);
            return result.interrupted ? json()
                                      : json{{"effective_beta", result.effective_beta},
                                             {"evaluations", figures_of(result.policy_evaluations)}};
          }};
}

// How many times as far a round moves in the end with momentum, where rounds are solved: beta / beta_eq.
double lengthening(world const& w, double alpha) {
  round_settings const r = rounds_of(w, {.name = "", .alpha = alpha});
  return 1 / kedge::llm::effective_beta(r, r.rounds, 1);
}

std::string name_of_null(null_choice choice, std::string const& alpha) {
  return (choice == null_choice::both ? "null" : std::string(name_of(choice)) + " alone") + " of " + alpha;
}

std::vector<variant> variants(world const& w) {
  auto const apo = [](std::string const& alpha) { return variant{.name = "APO " + alpha, .alpha = std::stod(alpha)}; };
  auto const null = [](std::string const& alpha, null_choice choice = null_choice::both) {
    return variant{
        .name = name_of_null(choice, alpha), .alpha = std::stod(alpha), .null = choice, .drawn = choice == null_choice::both};
  };
  if (w.given.quick)
    return {{.name = "iterative DPO"},
            apo("0.3"),
            null("0.3"),
            {.name = "iterative IPO", .loss = "ipo_sum"},
            {.name = "iterative SPPO", .loss = "sppo_hard"}};
  if (w.name != "tiny") return {{.name = "iterative DPO"}, apo("0.5"), null("0.5")};
  return {{.name = "iterative DPO"},
          apo("0.3"),
          null("0.3"),
          null("0.3", null_choice::beta),
          null("0.3", null_choice::rate),
          apo("0.5"),
          null("0.5"),
          null("0.5", null_choice::beta),
          null("0.5", null_choice::rate),
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
    method const *const apo = find(name), *const null = find(name_of_null(null_choice::both, alpha));
    if (apo == nullptr) continue;
    claims.push_back(above(name + " ends at a higher reward than iterative DPO", reward_difference(*apo, plain)));
    claims.push_back(
        above(name + " ends farther from the start than iterative DPO", difference(*apo, plain, final_kl), " nats"));
    claims.push_back(above(name + " has more reward than iterative DPO at equal KL", difference_at_equal_kl(*apo, plain)));
    claims.push_back(equal(name + " ends at the reward of its null baseline", reward_difference(*apo, *null)));
    claims.push_back(above(name + " has more reward than its null baseline at equal KL", difference_at_equal_kl(*apo, *null)));
    std::string const times = short_text(lengthening(w, std::stod(alpha)));
    if (method const* const beta = find(name_of_null(null_choice::beta, alpha)))
      claims.push_back(
          above("iterative DPO with a beta " + times + " times as small ends at a higher reward than iterative DPO",
                reward_difference(*beta, plain)));
    if (method const* const rate = find(name_of_null(null_choice::rate, alpha)))
      claims.push_back(equal(name + " ends at the reward of iterative DPO with a learning rate " + times + " times as large",
                             reward_difference(*apo, *rate)));
  }
  if (method const* const exact = find("APO 0.3 log-probs"))
    claims.push_back(equal("Extrapolating log-probabilities equals extrapolating weights, at alpha 0.3",
                           reward_difference(*exact, *find("APO 0.3"))));
  for (std::string const loss : {"IPO", "SPPO"}) {
    method const *const other = find("iterative " + loss), *const apo = find("APO 0.3, " + loss);
    if (other == nullptr) continue;
    claims.push_back(equal("Iterative " + loss + " ends at the reward of iterative DPO", reward_difference(*other, plain)));
    claims.push_back(
        equal("Iterative " + loss + " has the reward of iterative DPO at equal KL", difference_at_equal_kl(*other, plain)));
    if (apo == nullptr) continue;
    claims.push_back(
        above("APO 0.3 with " + loss + " ends at a higher reward than iterative " + loss, reward_difference(*apo, *other)));
    claims.push_back(above("APO 0.3 with " + loss + " has more reward than iterative " + loss + " at equal KL",
                           difference_at_equal_kl(*apo, *other)));
  }
  return claims;
}

void work(options const& given) {
  auto const begin = std::chrono::steady_clock::now();
  world const w = prepare(given);
  findings f{
      .title = "Online APO",
      .introduction =
          "Accelerated preference optimization with fresh samples: each round samples 4 completions a prompt from the anchor, "
          "pairs the best with "
          "the worst, trains, and extrapolates; without extrapolation it is iterative DPO, IPO or SPPO. All methods have the "
          "same rounds, prompts, "
          "samples and gradient steps. The null baseline of APO is iterative DPO with beta divided by r and the learning rate "
          "multiplied by r, where r says how many times as far momentum moves" +
          std::string(w.name == "tiny" && !given.quick ? "; beside it stand runs with beta alone and with the rate alone."
                                                       : "."),
      .how_chosen = w.name == "tiny" ? "Settings: 8 rounds of all 96 prompts, batch 16, 2 epochs a round, AdamW at 1e-4 with a "
                                       "warmup over a fifth of each round and a cosine, beta 0.3 "
                                       "in every loss; IPO on summed log-ratios, SPPO with hard labels. "
                                       "The schedule was chosen so that no round undoes what was learned: at 2e-4 without "
                                       "warmup, one to three seeds of five fall by half a "
                                       "point or more in some round with every method, and recover or don't."
                                     : "Settings: 3 rounds of 16 prompts, batch 4, 1 epoch a round, AdamW at 5e-5 constant, "
                                       "beta 0.1; nothing was tuned.",
      .where = &w,
      .methods = measure(w),
      .claims = {}};
  f.claims = claims_of(w, f.methods);
  if (given.quick) f.how_chosen = "A quick run, to see that it works: few rounds, few samples, few methods.";
  f.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  write_report(f);
}

}  // namespace

int main(int argc, char** argv) {
  return guarded(argc, argv, "kedge-online-apo",
                 "Online APO, iterative DPO, IPO and SPPO and their null baselines at equal budget.", work);
}
