// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <random>

#include "experiment.hpp"

namespace kedge_lab {
namespace {

option const alpha{"alpha", "0.3", "momentum of momentum=constant"}, beta{"beta", "1", "weight of the KL term"};
option const momentum_option{"momentum", "constant", "none, constant or nesterov"};

template <class Measure>
vector bandit_series(arguments const& a, vector const& reward, std::size_t rounds, Measure const& measure) {
  return with_momentum(a, [&](auto const& rule) {
    exact_bandit<vector> problem(reward, a.number("beta"));
    return trajectory(extrapolated_weights<std::remove_cvref_t<decltype(rule)>>{rule}, problem, vector(reward.size(), 0.0),
                      rounds, measure);
  });
}

// The same with constant momentum of the given α, whatever the options say.
template <class Measure>
vector constant_series(double a, double b, vector const& reward, std::size_t rounds, Measure const& measure) {
  exact_bandit<vector> problem(reward, b);
  return trajectory(constant{{a}}, problem, vector(reward.size(), 0.0), rounds, measure);
}

double largest_relative_error(vector const& found, vector const& expected) {
  double largest = 0;
  for (std::size_t i = 0; i < found.size(); ++i) largest = std::max(largest, std::abs(found[i] / expected[i] - 1));
  return largest;
}

outcome worst_case(arguments const& a) {
  outcome result;
  std::size_t const arms = a.count("arms", 2), rounds = a.count("rounds");
  double const b = a.positive("beta"), p = 1 / static_cast<double>(arms);
  vector gaps, scaled;
  for (std::size_t t = 1; t <= rounds; ++t) {
    double const gamma = steps(a, t) / b;
    vector const reward = two_level_reward(arms, worst_gap(p, gamma));
    auto const all = bandit_series(a, reward, t, [&](vector const& logits) { return reward_gap(logits, reward); });
    gaps.push_back(all.back());
    scaled.push_back(all.back() * gamma);
  }
  double const constant = sharp_gap_bound(p, 1);
  auto bound = [&](double c) { return by_round(rounds, [&](std::size_t t) { return c * b / steps(a, t); }); };
  result.series = {{"gap", gaps}, {"scaled_gap", scaled}, {"sharp_bound", bound(constant)}};
  double worst = 0;
  for (double const value : scaled) worst = std::max(worst, std::abs(value - constant));
  result.given(steps(a, rounds) > 0 && *std::min_element(gaps.begin(), gaps.end()) > 0, "C_t > 0 in every round; alpha = " + text(a.number("alpha")));
  result.near("largest distance of gap C_t / beta from W_0, over rounds", 0, worst, 1e-12 * constant * static_cast<double>(rounds));
  result.given_all();
  for (auto const& [k, w] : {std::pair{3.0, .4630555134}, {10.0, 1.1010029973}, {100.0, 2.6286495970}})
    result.near("W_0((1-p)/(e p)) for " + text(k) + " arms", w, sharp_gap_bound(1 / k, 1), 5e-11);
  result.above("paper's constant at p = 0.40 minus the true one (it holds)", 0,
               paper_gap_bound(.4, 1) - sharp_gap_bound(.4, 1));
  result.below("paper's constant at p = 0.42 minus the true one (it fails)", 0,
               paper_gap_bound(.42, 1) - sharp_gap_bound(.42, 1));
  plot constants{"Constant c in gap = c beta / C_t, by the reference's probability p of the best arm", "p", "c", false, false};
  vector ps, sharp, paper;
  for (double q = 0.05; q < 0.6; q += 0.005) {
    ps.push_back(q);
    sharp.push_back(sharp_gap_bound(q, 1));
    paper.push_back(paper_gap_bound(q, 1));
  }
  constants.curves = {{"sharp: W_0((1-p)/(e p))", sharp, line::exact, ps},
                      {"paper: log((1-p)/p), wrong for p > 0.409", paper, line::bound, ps}};
  plot over_rounds{"Worst reward gap over all rewards, chosen anew for each round", "round t", "reward gap"};
  over_rounds.curves = {{"measured", gaps}, {"exact: W_0 beta / C_t", bound(constant), line::exact}};
  if (p < 0.5) over_rounds.curves.push_back({"paper's bound", bound(paper_gap_bound(p, 1)), line::bound});
  result.plots = {over_rounds, residual_plot("the worst gap", gaps, bound(constant)), constants};
  return result;
}

outcome two_arm(arguments const& a) {
  outcome result;
  std::size_t const contexts = a.count("contexts"), rounds = a.count("rounds");
  double const b = a.positive("beta");
  two_arm_contexts const problem(contexts, a.number("gap-min", 0, 1, true));
  auto gap = [&](vector const& logits) { return problem.gap(logits); };
  vector const gaps = bandit_series(a, problem.reward(), rounds, gap);
  vector const exact = by_round(rounds, [&](std::size_t t) { return problem.exact_gap(steps(a, t) / b); });
  vector const plain = constant_series(0, b, problem.reward(), rounds, gap);
  result.series = {{"gap", gaps}, {"exact", exact}, {"gap_without_momentum", plain}};
  plot p{"Mean reward gap, gaps between arms log-uniform on [" + text(a.number("gap-min")) + ", 1]", "round t", "reward gap"};
  p.curves = {{"measured, chosen momentum", gaps}, {"exact, chosen momentum", exact, line::exact}};
  if (rounds >= 100) {
    std::size_t const from = rounds / 100;
    result.fit = fit_power(gaps, from, rounds);
    result.fitted = "gap ~ t^slope, t = " + std::to_string(from) + " … " + std::to_string(rounds);
    p.curves[0].name += ": slope " + text(result.fit.slope);
  }
  p.curves.push_back({"alpha = 0", plain});
  for (double const other : {0.6, 0.9}) {
    vector const ys = constant_series(other, b, problem.reward(), rounds, gap);
    p.curves.push_back({"alpha = " + text(other), ys});
    if (rounds == 1000 && b == 1 && a.number("gap-min") == 1e-6)
      result.near("gap(alpha = 0) / gap(alpha = " + text(other) + ") at t = 1000", other == .6 ? 2.49895 : 9.97398,
                  plain[999] / ys[999], 5e-6);
  }
  exact_bandit<vector> bandit(problem.reward(), b);
  vector const fast = trajectory(nesterov{{3}}, bandit, vector(2 * contexts, 0.0), rounds, gap);
  p.curves.push_back({"alpha_t = t/(t+3), Nesterov", fast});
  p.curves.push_back({"exact, Nesterov",
                      by_round(rounds, [&](std::size_t t) { return problem.exact_gap(nesterov_steps(3, t) / b); }),
                      line::exact});
  result.plots = {p, residual_plot("the mean gap", gaps, exact)};
  result.given(contexts >= 100, "100 contexts, for the mean of a continuum; contexts = " + std::to_string(contexts));
  result.near("largest relative error of gap against the closed form", 0, largest_relative_error(gaps, exact), 1e-9);
  result.given_all();
  if (contexts >= 100 && rounds >= 1000 && b == 1 && a.number("gap-min") == 1e-6) {
    result.near("gap at t = 10, alpha = 0", 5.0168017951e-3, plain[9], 5e-14);
    result.near("gap at t = 100, alpha = 0", 5.0168046914e-4, plain[99], 5e-15);
    result.near("gap at t = 1000, alpha = 0", 5.0135483785e-5, plain[999], 5e-16);
    result.near("slope on t = 10 … 1000, alpha = 0", -1.00012, fit_power(plain, 10, 1000).slope, 5e-6);
    vector const third = constant_series(0.3, b, problem.reward(), rounds, gap);
    result.near("gap(alpha = 0) / gap(alpha = 0.3) at t = 1000", 1.42840, plain[999] / third[999], 5e-6);
    result.near("Nesterov's gap at t = 1000", 3.635e-7, fast[999], 5e-11);
  }
  result.notes = {
      "Constant momentum changes the constant by 1/(1 - alpha), not the exponent; Nesterov's schedule doubles the exponent."};
  return result;
}

outcome spaced_rewards(arguments const& a) {
  outcome result;
  std::size_t const arms = a.count("arms", 2), rounds = a.count("rounds");
  vector const reward = spaced_reward(arms);
  vector const gaps = bandit_series(a, reward, rounds, [&](vector const& logits) { return reward_gap(logits, reward); });
  double const b = a.positive("beta");
  vector const exact = by_round(rounds, [&](std::size_t t) { return spaced_exact_gap(arms, steps(a, t) / b); });
  vector const simple = by_round(rounds, [&](std::size_t t) { return b / steps(a, t); });
  result.series = {{"gap", gaps}, {"exact", exact}};
  result.near("largest relative error of gap against the closed form", 0, largest_relative_error(gaps, exact), 1e-9);
  result.near("closed form at 513 arms, gamma = 10", 0.09898200563572217, spaced_exact_gap(513, 10), 1e-15);
  plot p{"Reward gap with " + std::to_string(arms) + " arms, rewards evenly spaced on [0, 1]", "round t", "reward gap"};
  p.curves = {{"measured", gaps}, {"exact", exact, line::exact}, {"beta / C_t", simple, line::bound}};
  result.plots = {p, residual_plot("the gap", gaps, exact)};
  return result;
}

outcome minimal_gap(arguments const& a) {
  outcome result;
  std::size_t const arms = a.count("arms", 2), rounds = a.count("rounds");
  double const b = a.positive("beta"), gap = a.number("gap", 0, 1, true), alpha = a.number("alpha");
  bool const is_constant = a.word("momentum", {"none", "constant", "nesterov"}) != "nesterov", is_plain = a.all().at("momentum") == "none";
  vector const reward = minimal_gap_reward(arms, gap);
  auto miss = [&](vector const& logits) { return miss_probability(logits, reward); };
  vector const misses = bandit_series(a, reward, rounds, miss);
  double const p0 = 1 / static_cast<double>(arms);
  vector const bound = by_round(rounds, [&](std::size_t t) { return miss_bound(p0, gap, steps(a, t) / b); });
  result.series = {{"tv", misses}, {"bound", bound}};
  plot p{"Total variation from the optimum; best arm " + text(gap) + " above the next", "round t", "total variation", false};
  p.curves = {{"measured, chosen momentum", misses}, {"bound: (1-p)/p exp(-gap C_t/beta)", bound, line::bound}};
  double largest = -1;
  std::size_t last = 0;  // the last round whose probability is far from underflow
  for (std::size_t i = 0; i < rounds; ++i)
    if (bound[i] > 1e-250) largest = std::max(largest, misses[i] / bound[i]), last = misses[i] > 1e-250 ? i + 1 : last;
  result.given(steps(a, rounds) > 0 && (is_plain || alpha >= 0), "0 <= alpha; alpha = " + text(alpha));
  result.below("largest tv / bound", 1 + 1e-12, largest);
  // The runner-up is all that is left of the misses once gamma times the distance to the third arm is large.
  double const share = is_plain ? 0 : alpha, slope = -gap / (b * (1 - share));
  double const third = arms > 2 ? (1 - gap) / static_cast<double>(arms - 2) : 1, settled = steps(a, last > 50 ? last - 50 : 1) / b;
  result.given(is_constant && share >= 0 && share < 1, "a constant 0 <= alpha < 1");
  if (last > 60) {
    result.fit = fit_exponential(misses, last - 50, last);
    result.fitted = "tv ~ exp(slope t), t = " + std::to_string(last - 50) + " … " + std::to_string(last);
    p.curves[0].name += ": slope " + text(result.fit.slope);
    if (is_constant && share >= 0 && share < 1)
      result.given(third * settled > 14 && std::pow(share, static_cast<double>(last - 50)) < 1e-7,
                   "rounds in which only the runner-up is left; more --rounds");
  } else {
    result.given(false, "60 rounds before the probability underflows; rounds = " + std::to_string(last));
  }
  result.near("slope per round, -gap / (beta (1 - alpha))", slope, result.fit.slope, 2e-5 * std::abs(slope));
  result.given_all();
  for (double const other : {0.0, 0.3, 0.6})
    p.curves.push_back({"the same with alpha = " + text(other), constant_series(other, b, reward, rounds, miss)});
  result.plots = {p};
  return result;
}

outcome random_bandit(arguments const& a) {
  outcome result;
  std::size_t const arms = a.count("arms", 2), rounds = a.count("rounds"), contexts = a.count("contexts"), seeds = a.count("seeds", 2);
  (void)a.positive("beta");
  std::vector<vector> means;
  vector slopes;
  for (std::size_t seed = 0; seed < seeds; ++seed) {
    std::mt19937_64 generator(a.count("seed") + seed);
    vector mean(rounds, 0.0);
    for (std::size_t x = 0; x < contexts; ++x) {
      vector const reward = random_reward(arms, generator);
      axpby(1 / static_cast<double>(contexts), bandit_series(a, reward, rounds, [&](vector const& logits) { return reward_gap(logits, reward); }),
            1, mean);
    }
    if (rounds >= 60) slopes.push_back(fit_power(mean, 10, 60).slope);
    means.push_back(std::move(mean));
  }
  plot p{"Mean reward gap of bandits with uniform random rewards, " + std::to_string(seeds) + " seeds of " + std::to_string(contexts), "round t", "reward gap"};
  curve const all = averaged("measured", means);
  auto through = [&](double power) {
    return by_round(rounds, [&](std::size_t t) { return all.y[std::min<std::size_t>(9, rounds - 1)] * std::pow(static_cast<double>(t) / 10, power); });
  };
  p.curves = {all, {"t^-2 from t = 10", through(-2), line::bound}, {"t^-1 from t = 10", through(-1), line::bound}};
  result.series = {{"gap", all.y}};
  if (rounds >= 60) {
    result.fit = fit_power(all.y, 10, 60);
    result.fitted = "mean gap ~ t^slope, t = 10 … 60";
    result.series.push_back({"slope_by_seed", slopes});
    result.given(steps(a, 10) / a.number("beta") >= 10, "C_10 / beta of at least 10: before, no context is near its end");
    result.mean_below("slope on t = 10 … 60 of a seed (a rate of 1/t would give -1)", -1.5, slopes);
    result.given_all();
  }
  result.plots = {p};
  result.notes = {
      "The paper's 1/t is a worst case over rewards for each t. Bandits drawn at random have few near-ties: the mean gap falls faster, and the mean over "
      "all bandits tends to t^-2, because the distance between the two best arms has a positive density at 0."};
  return result;
}

outcome null_baseline(arguments const& a) {
  outcome result;
  std::size_t const arms = a.count("arms", 2), rounds = a.count("rounds");
  double const b = a.positive("beta");
  std::mt19937_64 generator(a.count("seed"));
  vector const reward = random_reward(arms, generator);
  auto mean_reward = [&](vector const& logits) { return expected(softmax(logits), reward); };
  double const null = b * static_cast<double>(rounds) / steps(a, rounds);
  vector const accelerated = bandit_series(a, reward, rounds, mean_reward);
  vector const plain = constant_series(0, b, reward, rounds, mean_reward);
  vector const matched = constant_series(0, null, reward, rounds, mean_reward);
  result.series = {{"apo", accelerated}, {"iterative_dpo", plain}, {"null_baseline", matched}};
  result.near("reward after the last round: APO minus iterative DPO at beta_eq = " + text(null), 0,
              accelerated.back() - matched.back(), 1e-12);
  result.near("beta_eq / beta for alpha = 0.3 and 3 rounds", 0.81301, effective_beta(1, constant_momentum{.3}, 3), 5e-6);
  result.near("variance factor for alpha = 0.3 and 3 rounds", 1.01838, variance_factor(constant_momentum{.3}, 3), 5e-6);
  double worst = 0;  // the same curve after rescaling: APO's round t is plain DPO of beta t / C_t
  for (std::size_t t = 1; t <= rounds; ++t) {
    vector const rescaled = constant_series(0, b * static_cast<double>(t) / steps(a, t), reward, t, mean_reward);
    worst = std::max(worst, std::abs(rescaled.back() - accelerated[t - 1]));
  }
  result.near("largest distance between APO and its rescaled null baseline, over rounds", 0, worst, 1e-12);
  vector gammas, plain_gammas;
  for (std::size_t t = 1; t <= rounds; ++t) {
    gammas.push_back(steps(a, t) / b);
    plain_gammas.push_back(static_cast<double>(t) / b);
  }
  plot by_rounds{"Mean reward by round", "round t", "mean reward", false, false};
  by_rounds.curves = {
      {"APO", accelerated}, {"iterative DPO, same beta", plain}, {"iterative DPO, beta_eq", matched, line::exact}};
  plot by_gamma{"The same against C_t / beta: one curve", "C_t / beta", "mean reward", false, false};
  by_gamma.curves = {{"APO", accelerated, line::measured, gammas}, {"iterative DPO", plain, line::exact, plain_gammas}};
  result.plots = {by_rounds, by_gamma};
  return result;
}

}  // namespace

std::vector<experiment> bandit_experiments() {
  using namespace kedge::lab::drawing::mathml;
  option const arms{"arms", "10", "arms of a bandit"};
  return {
      {"worst-case",
       "The worst case: gap = W_0 beta / C_t",
       "For every round there is a reward on which the gap is exactly W_0((1-p)/(e p)) beta / C_t, with Lambert's W_0 and C_t "
       "the "
       "accumulated steps. The paper's constant log((1-p)/p) is larger, but fails for p > 0.409.",
       {alpha, beta, momentum_option, arms, {"rounds", "60", "rounds"}},
       worst_case,
       i("gap") + o("=") + sub(i("W"), n("0")) + o("(") + over(n("1") + o("−") + i("p"), i("e") + i("p")) + o(")") + over(i("β"), sub(i("C"), i("t")))},
      {"two-arm",
       "Slope -1 over many decades; what momentum changes",
       "Averaged over contexts with log-uniform gaps the reward gap is a closed form that falls like 1/t. Constant momentum "
       "divides it by "
       "1/(1 - alpha); only a growing momentum such as Nesterov's changes the slope, to -2.",
       {alpha,
        beta,
        momentum_option,
        {"contexts", "2000", "contexts"},
        {"gap-min", "1e-6", "smallest gap"},
        {"rounds", "1000", "rounds"}},
       two_arm},
      {"spaced-rewards",
       "Evenly spaced rewards: gap close to beta / C_t",
       "With many arms of evenly spaced rewards the constant is one: the gap is close to beta / C_t until it resolves single "
       "arms.",
       {alpha, beta, momentum_option, {"arms", "513", "arms"}, {"rounds", "300", "rounds"}},
       spaced_rewards},
      {"minimal-gap",
       "A minimal gap: exponential convergence",
       "If the best arm is better than all others by a fixed gap, the total variation from it falls by gap / (beta (1 - "
       "alpha)) nats a round, "
       "twice what Pinsker's inequality gives.",
       {alpha, beta, momentum_option, arms, {"gap", "0.2", "best minus second reward"}, {"rounds", "250", "rounds"}},
       minimal_gap,
       i("tv") + o("≤") + over(n("1") + o("−") + i("p"), i("p")) + sup(i("e"), o("−") + i("Δ") + sub(i("C"), i("t")) + o("/") + i("β"))},
      {"random-bandit",
       "Random bandits fall faster than 1/t",
       "With rewards drawn uniformly the mean gap falls with a slope between -1.5 and -2: a random bandit is the wrong place to look for the rate "
       "1/t.",
       {{"alpha", "0", "momentum of momentum=constant"},
        beta,
        momentum_option,
        arms,
        {"contexts", "64", "bandits of a seed"},
        {"rounds", "60", "rounds"},
        option_seed,
        option_seeds("20")},
       random_bandit},
      {"null-baseline",
       "Solved rounds: APO is iterative DPO with another beta",
       "Under exact Bradley-Terry dynamics the result of APO after T rounds is that of plain iterative DPO with beta_eq = beta T / C_T, to rounding. Whoever "
       "compares APO with DPO at equal beta compares two step sizes. Where rounds are not solved the rate changes too: inexact-rounds.",
       {alpha, beta, momentum_option, arms, {"rounds", "10", "rounds"}, option_seed},
       null_baseline,
       sub(i("β"), i("eq")) + o("=") + over(i("β") + i("T"), sub(i("C"), i("T")))},
  };
}

}  // namespace kedge_lab
