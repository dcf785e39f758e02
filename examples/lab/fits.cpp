// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <random>

#include "experiment.hpp"

namespace kedge_lab {
namespace {

outcome samplers(arguments const& a) {
  outcome result;
  std::size_t const rounds = a.count("rounds");
  double const beta = a.positive("beta");
  plot p{"Error of the fitted reward gaps, rewards 0, 1/3, 1", "step T", "largest error", false};
  auto errors = [&](pair_sampler sampler) {
    sampled_dpo algorithm({0, 1.0 / 3, 1}, beta, sampler);
    vector found{algorithm.error()};
    for (std::size_t t = 1; t < rounds; ++t) {
      algorithm.step();
      found.push_back(std::max(algorithm.error(), 1e-17));
    }
    return found;
  };
  vector const uniform = errors(pair_sampler::uniform), by_reward = errors(pair_sampler::mix_reward);
  vector const by_policy = errors(pair_sampler::mix_policy);
  result.series = {{"uniform", uniform}, {"mix_reward", by_reward}, {"mix_policy", by_policy}};
  vector linear, quadratic, steps;
  for (std::size_t t = 0; t < rounds; ++t) {
    steps.push_back(static_cast<double>(t));
    linear.push_back(std::pow(.588, static_cast<double>(t)));
    quadratic.push_back(std::max(1e-17, std::pow(.611, std::pow(2, static_cast<double>(t)) - 1)));
  }
  p.curves = {{"uniform pairs", uniform, line::measured, steps},
              {"mixed with the reward's tilt", by_reward, line::measured, steps},
              {"mixed with the policy's tilt", by_policy, line::measured, steps},
              {"bound for uniform pairs, 0.588^T", linear, line::bound, steps},
              {"bound for the policy's tilt, 0.611^(2^T - 1)", quadratic, line::bound, steps}};
  result.plots = {p};
  double const anchors[] = {1, 5.9408e-2, 6.1267e-4, 6.8083e-8};
  sampled_dpo algorithm({0, 1.0 / 3, 1}, .1, pair_sampler::mix_policy);
  for (std::size_t t = 0; t < 5; ++t) {
    if (t < 4)
      result.near("mix_policy after " + std::to_string(t) + " steps, beta = 0.1", anchors[t], algorithm.error(),
                  1e-5 * anchors[t] * (t == 3 ? 10 : 1));
    else
      result.below("mix_policy after 4 steps, beta = 0.1 (6.7e-16: rounding)", 2e-15, algorithm.error());
    algorithm.step();
  }
  result.given(rounds > 8 && beta == 0.1, "beta = 0.1 and nine steps");
  if (rounds > 8) result.near("ratio of successive errors, uniform pairs", 0.168, uniform[7] / uniform[6], 2e-3);
  // A rate that squares the error: the logarithm doubles a step, while the error is below 0.1 and above rounding.
  double slowest = 1e300;
  std::size_t seen = 0;
  for (std::size_t t = 0; t + 1 < rounds; ++t)
    if (by_policy[t] < 0.1 && by_policy[t + 1] > 1e-13) slowest = std::min(slowest, std::log(by_policy[t + 1]) / std::log(by_policy[t])), ++seen;
  result.given(seen > 0, "steps between an error of 0.1 and rounding");
  result.above("smallest ratio of log errors from step to step, the policy's tilt (2 is quadratic, 1 linear)", 1.8, slowest);
  result.given_all();
  return result;
}

// Rounds of exact Bradley–Terry fits on the two-token tree. Parameters are logits of the three conditionals, references
// log-probabilities of the four sequences.
struct tree_problem {
  vector reward;
  double beta;

  template <class State>
  vector const& source(State const&) const {
    return reward;
  }
  [[nodiscard]] static vector log_probs(vector const& theta) {
    return two_token_policy{theta[0], theta[1], theta[2]}.log_probs();
  }
  [[nodiscard]] vector score(vector const& theta, vector const&) const { return log_probs(theta); }
  status solve(vector& theta, vector const& r, vector const& reference, std::size_t) const {
    vector target = reference;
    axpby(1 / beta, r, 1, target);
    vector const p = softmax(target);
    theta = {std::log((p[0] + p[1]) / (p[2] + p[3])), target[0] - target[1], target[2] - target[3]};
    return status::done;
  }
};

outcome token_vs_sequence(arguments const& a) {
  outcome result;
  double const alpha = a.number("alpha"), beta = a.positive("beta");
  std::size_t const rounds = a.count("rounds");
  auto const before = two_token_policy::from_probabilities(.5, .5, .5), now = two_token_policy::from_probabilities(.6, .9, .5);
  result.near("p(aa), sequence level, alpha = 1", .7771855011, std::exp(extrapolate_sequences(now, before, 1)[0]), 5e-11);
  result.near("p(aa), token level, alpha = 1", .6838649156, std::exp(extrapolate_tokens(now, before, 1).log_probs()[0]), 5e-11);
  vector alphas, sequences, tokens;
  for (double x = 0; x <= 1.001; x += 0.05) {
    alphas.push_back(x);
    sequences.push_back(std::exp(extrapolate_sequences(now, before, x)[0]));
    tokens.push_back(std::exp(extrapolate_tokens(now, before, x).log_probs()[0]));
  }
  plot one{"Probability of the sequence aa after one extrapolation", "alpha", "p(aa)", false, false};
  one.curves = {{"sequence level (the paper's update)", sequences, line::measured, alphas},
                {"token level (extrapolated weights)", tokens, line::measured, alphas}};
  // One reward for whole sequences, APO by both extrapolations, against exp(C_t r / beta).
  tree_problem problem{{1, 0, 0.2, 0.6}, beta};
  vector by_tokens, by_sequences;
  auto distance = [&](std::size_t t, vector const& theta) {
    vector exact = problem.reward;
    for (double& value : exact) value *= accumulated_steps(constant_momentum{alpha}, t) / beta;
    return std::max(1e-17, total_variation(softmax(tree_problem::log_probs(theta)), softmax(exact)));
  };
  auto follow = [&](auto const& schedule, vector& found) {
    auto s = kedge::state_for<vector>(vector(3, 0.0), schedule);
    for (std::size_t t = 1; t <= rounds; ++t) {
      (void)kedge::run(s, schedule, problem, t);
      found.push_back(distance(t, s.theta));
    }
  };
  follow(constant{{alpha}}, by_tokens);
  follow(extrapolated_log_probs<constant_momentum>{{alpha}}, by_sequences);
  result.series = {{"tv_weights", by_tokens}, {"tv_log_probs", by_sequences}};
  result.below("largest distance from the exact iterates, extrapolated log-probabilities", 1e-12,
               *std::max_element(by_sequences.begin(), by_sequences.end()));
  result.given(alpha > 0 && rounds > 2, "momentum and three rounds");
  result.above("largest distance from the exact iterates, extrapolated weights", 1e-6, *std::max_element(by_tokens.begin(), by_tokens.end()));
  result.given_all();
  plot many{"Distance from the exact iterates exp(C_t r / beta)", "round t", "total variation", false};
  many.curves = {{"extrapolated weights", by_tokens}, {"extrapolated log-probabilities", by_sequences}};
  result.plots = {one, many};
  return result;
}

// Rounds whose reward carries independent noise of unit variance at every arm.
struct noisy_rewards {
  double beta;
  std::mt19937_64 generator;
  vector noise;

  template <class State>
  vector const& source(State const&) {
    std::normal_distribution<double> normal;
    for (double& value : noise) value = normal(generator);
    return noise;
  }
  [[nodiscard]] vector score(vector const& theta, vector const&) const { return theta; }
  status solve(vector& theta, vector const& reward, vector const& anchor, std::size_t) const {
    axpby(1, anchor, 0, theta);
    axpby(1 / beta, reward, 1, theta);
    return status::done;
  }
};

template <class Schedule>
double variance_of_result(Schedule const& schedule, double beta, std::size_t rounds, std::size_t arms, std::size_t seed) {
  noisy_rewards problem{beta, std::mt19937_64(seed), vector(arms)};
  auto s = kedge::state_for<vector>(vector(arms, 0.0), schedule);
  (void)kedge::run(s, schedule, problem, rounds);
  return dot(s.theta, s.theta) / static_cast<double>(arms);
}

// Mean square error of the centred result against the population's, over repetitions; NaN where a fit doesn't settle.
struct sampling {
  vector reward;
  std::size_t rounds, pairs, repetitions, seed;
};

template <class Schedule>
double sampled_error(Schedule const& schedule, double beta, double steps, sampling const& of) {
  preference_game const game = bradley_terry(of.reward);
  std::mt19937_64 generator(of.seed);
  vector exact = centered(of.reward);
  for (double& value : exact) value *= steps / beta;
  double sum = 0;
  for (std::size_t repetition = 0; repetition < of.repetitions; ++repetition) {
    auto collect = [&](vector const& logits, std::size_t) { return sampled_comparisons(softmax(logits), game, of.pairs, generator); };
    fitted_bandit problem(dpo{beta}, collect, 1e-6);
    auto s = kedge::state_for<vector>(vector(of.reward.size(), 0.0), schedule);
    if (kedge::run(s, schedule, problem, of.rounds) != status::done) return std::nan("");
    vector const found = centered(s.theta);
    for (std::size_t i = 0; i < found.size(); ++i) sum += (found[i] - exact[i]) * (found[i] - exact[i]);
  }
  return std::sqrt(sum / static_cast<double>(of.repetitions * of.reward.size()));
}

vector const pair_sizes{300, 949, 3000, 9487, 30000};

struct sampled_courses {
  std::vector<vector> apo, null;
  vector slopes;
  std::size_t unsettled = 0;  // seeds with a fit that doesn't settle
};

sampled_courses sample_courses(arguments const& a, double beta, constant_momentum rule, std::size_t rounds) {
  sampled_courses found;
  vector logs;
  for (double const n : pair_sizes) logs.push_back(std::log(n));
  for (std::size_t seed = a.count("seed"); seed < a.count("seed") + a.count("seeds", 2); ++seed) {
    vector apo, null, log_errors;
    for (double const n : pair_sizes) {
      sampling of{spaced_reward(a.count("arms", 2)), rounds, static_cast<std::size_t>(n), a.count("repetitions"), 2 * seed};
      apo.push_back(sampled_error(constant{rule}, beta, accumulated_steps(rule, rounds), of));
      ++of.seed;
      null.push_back(sampled_error(hand_off{}, effective_beta(beta, rule, rounds), static_cast<double>(rounds), of));
      log_errors.push_back(std::log(apo.back()));
    }
    if (std::any_of(apo.begin(), apo.end(), [](double x) { return std::isnan(x); }) || std::any_of(null.begin(), null.end(), [](double x) { return std::isnan(x); })) {
      ++found.unsettled;
      continue;
    }
    found.slopes.push_back(fit_line(logs, log_errors).slope);
    found.apo.push_back(apo);
    found.null.push_back(null);
  }
  return found;
}

outcome finite_sample(arguments const& a) {
  outcome result;
  double const alpha = a.number("alpha"), beta = a.positive("beta");
  std::size_t const rounds = a.count("rounds"), seed = a.count("seed"), seeds = a.count("seeds", 2);
  constant_momentum const rule{alpha};
  double const factor = variance_factor(rule, rounds);
  vector ratios;
  for (std::size_t k = 0; k < seeds; ++k) {
    double const noisy = variance_of_result(constant{rule}, beta, rounds, 20000, 2 * (seed + k));
    ratios.push_back(noisy / variance_of_result(hand_off{}, effective_beta(beta, rule, rounds), rounds, 20000, 2 * (seed + k) + 1));
  }
  result.mean_near("variance of APO's result over its null baseline's, rewards with independent noise", factor, 0.02 * factor, ratios);
  result.series.emplace_back("variance_ratio_by_seed", ratios);
  sampled_courses const found = sample_courses(a, beta, rule, rounds);
  if (found.apo.size() >= 2) {
    plot p{"Error of the log-policy after " + std::to_string(rounds) + " rounds of sampled DPO, mean over seeds", "pairs per round N", "error, nats"};
    curve const apo = averaged("APO", found.apo, pair_sizes);
    vector line_through;
    for (double const n : pair_sizes) line_through.push_back(apo.y.back() * std::sqrt(pair_sizes.back() / n));
    p.curves = {apo, averaged("null baseline, beta_eq", found.null, pair_sizes), {"N^-1/2", line_through, line::exact, pair_sizes, {}, {}}};
    result.plots = {p};
    result.series.emplace_back("pairs_per_round", pair_sizes);
    result.series.emplace_back("error_apo", apo.y);
    result.series.emplace_back("slope_by_seed", found.slopes);
    result.given(found.unsettled == 0, "pairs enough for every fit to settle; " + std::to_string(found.unsettled) + " seeds have one that doesn't");
    result.mean_near("slope of the error in N (1/sqrt N: statistics)", -0.5, 0.05, found.slopes);
    result.given_all();
  } else {
    result.given(false, "pairs enough for every fit to settle: at these options a sample leaves arms without a comparison; a smaller alpha, fewer rounds or a larger beta");
    result.near("slope of the error in N", -0.5, std::nan(""), 0.05);
    result.given_all();
  }
  result.notes = {
      "With finitely many pairs momentum is slightly noisier than its null baseline at equal end point; what it saves is gradient steps. The factor T sum W^2 / (sum W)^2 "
      "is exact where noise is independent of the policy."};
  return result;
}

}  // namespace

std::vector<experiment> fit_experiments() {
  option const alpha{"alpha", "0.3", "constant momentum"}, rounds{"rounds", "3", "rounds"};
  return {
      {"samplers",
       "What pairs are drawn from decides the rate",
       "Online DPO by exact gradient steps: uniform pairs converge linearly, pairs mixed with tilts of the policy "
       "quadratically.",
       {{"beta", "0.1", "weight of the KL term"}, {"rounds", "9", "steps, the start included"}},
       samplers},
      {"token-vs-sequence",
       "Extrapolated weights are not the extrapolated policy",
       "An autoregressive model normalises every token: extrapolating its weights differs from the paper's update of whole "
       "sequences. The "
       "effective reference (1 + alpha) log p - alpha log p' is exact for losses of the margin, and follows C_t to rounding.",
       {alpha, {"beta", "1", "weight of the KL term"}, {"rounds", "12", "rounds"}},
       token_vs_sequence},
      {"finite-sample",
       "N pairs a round: what noise does",
       "Fitted to N sampled pairs a round, the error of the result falls like 1/sqrt N. With noise, momentum has T sum W^2 / (sum W)^2 times the variance of its null baseline.",
       {alpha,
        {"beta", "2", "weight of the KL term"},
        {"arms", "5", "arms"},
        rounds,
        {"repetitions", "8", "runs of a seed"},
        option_seed,
        option_seeds("12")},
       finite_sample},
  };
}

}  // namespace kedge_lab
