// SPDX-License-Identifier: Apache-2.0
#include "online_pairs.hpp"

#include <algorithm>
#include <numeric>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/jsonl.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

preference_pair pair_of(std::vector<std::int32_t> const& prompt, rollout const& better, rollout const& worse) {
  preference_pair pair;
  pair.prompt = prompt;
  pair.chosen = better.tokens;
  pair.rejected = worse.tokens;
  pair.score_chosen = better.score;
  pair.score_rejected = worse.score;
  return pair;
}

// A completion as the data format has it: a text after a text, a message after messages.
json completion_after(json const& prompt, std::string const& text) {
  if (prompt.is_string()) return text;
  return json::array({{{"role", "assistant"}, {"content", text}}});
}

}  // namespace

std::vector<ranked> pair_up(std::vector<rollout> const& rollouts, std::size_t samples, pairing_rule pairing, double min_score_gap) {
  std::vector<ranked> pairs;
  for (std::size_t first = 0; first < rollouts.size(); first += samples) {
    std::vector<std::size_t> group(samples);
    std::iota(group.begin(), group.end(), first);
    std::stable_sort(group.begin(), group.end(), [&](std::size_t a, std::size_t b) { return rollouts[a].score > rollouts[b].score; });
    auto add = [&](std::size_t better, std::size_t worse) {
      double const gap = rollouts[better].score - rollouts[worse].score;
      if (gap > 0 && gap >= min_score_gap) pairs.push_back({better, worse});
    };
    if (pairing == pairing_rule::best_worst) {
      add(group.front(), group.back());
      continue;
    }
    for (std::size_t i = 0; i < group.size(); ++i)
      for (std::size_t j = i + 1; j < group.size(); ++j) add(group[i], group[j]);
  }
  return pairs;
}

online_pairs::online_pairs(round_settings const& settings, training_settings const& training, causal_lm const& model, rollout_source& prompts)
    : settings_(settings), training_(training), model_(model), prompts_(prompts) {}

std::size_t online_pairs::prompts_per_round() const { return settings_.prompts_per_round == 0 ? prompts_.size() : settings_.prompts_per_round; }

std::size_t online_pairs::expected() const {
  std::size_t const k = settings_.num_samples;
  return prompts_per_round() * (settings_.pairing == pairing_rule::all ? k * (k - 1) / 2 : 1);
}

std::filesystem::path online_pairs::file(std::size_t round) const {
  return training_.output_dir / "rounds" / ("round-" + std::to_string(round + 1) + ".jsonl");
}

std::vector<preference_pair> online_pairs::pairs(training_state const& state) {
  if (state.cached) return read(state.round);  // a reference is there: the round goes on with the pairs that it belongs to
  std::vector<pack> points;
  std::vector<double> weights;
  if (settings_.sample_from == sampled_policy::mixture)
    for (auto const& term : state.anchor) {
      points.push_back(model_.weights_for(term.point));
      weights.push_back(term.weight);
    }
  if (points.empty()) {  // the round starts where its anchor is
    points.push_back(model_.weights_for(state.theta));
    weights.push_back(1);
  }
  std::vector<mixture_term> policy;
  for (std::size_t j = 0; j < points.size(); ++j) policy.push_back({weights[j], &points[j]});
  std::vector<std::size_t> const which = prompts_.take(state.round, prompts_per_round());
  std::vector<rollout> const rollouts = prompts_.sample(policy, which, settings_.num_samples, state.round + 1);
  sampled = rollouts.size();
  mean_score = 0;
  for (rollout const& r : rollouts) mean_score += r.score / static_cast<double>(rollouts.size());
  std::vector<ranked> const found = pair_up(rollouts, settings_.num_samples, settings_.pairing, training_.min_score_gap);
  if (found.empty())
    throw error("round " + std::to_string(state.round + 1) + ": the judge gave all completions of every prompt the same score, or none far enough apart; "
                "sample more (--num_samples), hotter (--temperature), or lower --min_score_gap");
  prompts_.group().lead([&] {
    write(state.round, found, rollouts);
    return "";
  });
  std::vector<preference_pair> pairs;
  for (auto const [better, worse] : found) pairs.push_back(pair_of(prompts_.ids(rollouts[better].prompt), rollouts[better], rollouts[worse]));
  return pairs;
}

void online_pairs::write(std::size_t round, std::vector<ranked> const& pairs, std::vector<rollout> const& rollouts) const {
  std::string lines;
  for (auto const [b, w] : pairs) {
    rollout const &better = rollouts[b], &worse = rollouts[w];
    json const& prompt = prompts_.prompt(better.prompt);
    lines += json{{"prompt", prompt},
                  {"chosen", completion_after(prompt, better.text)},
                  {"rejected", completion_after(prompt, worse.text)},
                  {"score_chosen", better.score},
                  {"score_rejected", worse.score},
                  {"ids", {prompts_.ids(better.prompt), better.tokens, worse.tokens}}}
                 .dump() +
             '\n';
  }
  std::filesystem::create_directories(file(round).parent_path());
  write_file_atomically(file(round), lines);
}

std::vector<preference_pair> online_pairs::read(std::size_t round) const {
  std::vector<preference_pair> pairs;
  static_cast<void>(read_json_lines(file(round), false, [&](json_line line) {
    preference_pair& pair = pairs.emplace_back();
    try {
      json const& ids = line.object.at("ids");
      pair.prompt = ids.at(0).get<std::vector<std::int32_t>>();
      pair.chosen = ids.at(1).get<std::vector<std::int32_t>>();
      pair.rejected = ids.at(2).get<std::vector<std::int32_t>>();
      pair.score_chosen = line.object.at("score_chosen").get<double>();
      pair.score_rejected = line.object.at("score_rejected").get<double>();
    } catch (json::exception const&) {
      throw error("the line has no token ids; the file was changed, and the round can't go on from it");
    }
  }));
  return pairs;
}

}  // namespace kedge::llm
