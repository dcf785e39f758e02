// SPDX-License-Identifier: Apache-2.0
#include "rollout.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <memory>
#include <numeric>
#include <random>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/train/judge.hpp>
#include <kedge/llm/train/reward_model.hpp>

#include "../data/shuffle.hpp"
#include "../model/profile.hpp"
#include "dealt_samples.hpp"
#include "stop_watch.hpp"

namespace kedge::llm {
namespace {

std::uint64_t mixed(std::uint64_t seed, std::uint64_t stream) {
  std::seed_seq words{seed, stream};
  return std::mt19937_64(words)();
}

std::string packed(nlohmann::json const& numbers) {
  std::vector<std::uint8_t> const bytes = nlohmann::json::to_cbor(numbers);
  return {bytes.begin(), bytes.end()};
}

scorer start_scorer(on_policy_settings const& settings, session const& policy, device_settings const& compute) {
  if (settings.judge.empty() == settings.reward_model.empty())
    throw error("who rewards? give either --judge CMD, a program, or --reward_model DIR, which kedge reward wrote");
  if (!settings.reward_model.empty()) {
    auto model = std::make_shared<reward_model>(settings.reward_model, compute);
    model->require_same_tokenizer(policy.tokens, policy.source.path().string());
    return [model](std::span<judged const> completions) { return model->score(completions); };
  }
  auto program = std::make_shared<judge>(judge_settings{settings.judge, settings.judge_timeout});
  return [program](std::span<judged const> completions) { return program->score(completions); };
}

}  // namespace

scorer make_scorer(on_policy_settings const& settings, session const& policy, device_settings const& compute, process_group const& group) {
  if (settings.judge_processes == judging::all) return start_scorer(settings, policy, compute);
  scorer judge;
  group.lead([&] {
    judge = start_scorer(settings, policy, compute);
    return "";
  });
  return judge;
}

rollout_source::rollout_source(session const& s, causal_lm const& model, on_policy_settings const& settings, encoded_prompts prompts,
                               scorer& judge, std::uint64_t seed, process_group group)
    : session_(s),
      model_(model),
      settings_(settings),
      prompts_(std::move(prompts)),
      stop_(s.stop_tokens()),
      judge_(judge),
      seed_(seed),
      group_(std::move(group)) {
  // The model's rules count as in TRL, which sets temperature, truncations and repetition_penalty itself.
  rules_ = read_generation_config(s.source.generation_config, s.source.path().string()).further.rules;
  rules_.repetition_penalty = 1;
  for (std::size_t i = 0; i < prompts_.ids.size(); ++i)
    if (static_cast<std::int64_t>(prompts_.ids[i].size() + settings.max_new_tokens) > s.config.generation_positions())
      throw error(prompts_.examples[i].place + ": a prompt of " + std::to_string(prompts_.ids[i].size()) + " tokens leaves no room for " +
                  std::to_string(settings.max_new_tokens) + " more: the model has " + std::to_string(s.config.generation_positions()) +
                  " positions; shorten it or lower --max_new_tokens");
}

// What a process has of all rollouts; or that it was stopped, or what its judge failed by.
struct rollout_source::share {
  std::vector<std::size_t> places;  ///< among all
  std::vector<rollout> rollouts;
  bool stopped = false;
  std::string problem;
};

std::vector<rollout> rollout_source::sample(std::span<mixture_term const> policy, std::span<std::size_t const> which, std::size_t samples,
                                            std::uint64_t stream) {
  bool const one_judge = settings_.judge_processes == judging::leading;
  share mine = draw(policy, which, samples, stream);
  if (!one_judge && !mine.stopped) reward_own(mine);
  std::vector<rollout> all = of_all(mine, which, samples);
  for (rollout const& r : all) sampled_tokens += r.tokens.size();
  if (one_judge) reward_all(all);
  return all;
}

rollout_source::share rollout_source::draw(std::span<mixture_term const> policy, std::span<std::size_t const> which, std::size_t samples, std::uint64_t stream) {
  stop_watch const watch;
  std::vector<std::vector<std::int32_t>> ids;
  for (std::size_t const i : which) ids.push_back(prompts_.ids[i]);
  dealt_samples const dealt = deal(group_, ids, samples, settings_.max_new_tokens);
  share mine;
  sampling_settings const sampling{.max_new_tokens = settings_.max_new_tokens, .temperature = settings_.temperature, .top_p = settings_.top_p,
                                   .top_k = settings_.top_k, .stop_tokens = stop_, .seed = mixed(seed_, stream),
                                   .batch_size = settings_.generation_batch_size, .rules = rules_, .numbers = dealt.numbers};
  std::vector<sampled_completion> const drawn = generate(model_, policy, dealt.prompts, dealt.samples, sampling, [&](std::size_t, std::size_t) {
    if (!keep_going()) {
      group_.ask_to_stop();
      mine.stopped = true;
    }
    return !(mine.stopped = mine.stopped || group_.asked_to_stop());
  });
  for (sampled_completion const& c : drawn) {
    std::size_t const place = dealt.place(c);
    std::span<std::int32_t const> const text(c.tokens.data(), c.tokens.size() - (c.finished ? 1 : 0));
    mine.places.push_back(place);
    mine.rollouts.push_back({which[place / samples], c.tokens, c.logp, c.finished, 0, session_.tokens.decode(text, true)});
  }
  sample_seconds += watch.seconds();
  return mine;
}

// A judge that fails in one process ends the run in all: those that still sample are told.
void rollout_source::reward_own(share& mine) try {
  std::vector<double> const scores = scores_of(mine.rollouts);
  for (std::size_t i = 0; i < scores.size(); ++i) mine.rollouts[i].score = scores[i];
} catch (error const& problem) {
  mine.problem = problem.what();
  group_.ask_to_stop();
}

void rollout_source::reward_all(std::vector<rollout>& rollouts) try {
  std::string const scores = group_.lead([&] { return packed(scores_of(rollouts)); });
  std::size_t i = 0;
  for (nlohmann::json const& score : nlohmann::json::from_cbor(scores)) rollouts[i++].score = score.get<double>();
} catch (error const& problem) {
  throw judge_failed(problem.what());
}

std::vector<double> rollout_source::scores_of(std::span<rollout const> rollouts) {
  if (rollouts.empty()) return {};
  stop_watch const watch;
  std::vector<judged> questions;
  for (rollout const& r : rollouts) questions.push_back({prompts_.examples[r.prompt].prompt, r.text});
  std::vector<double> scores = judge_(questions);
  judge_seconds += watch.seconds();
  return scores;
}

std::vector<rollout> rollout_source::of_all(share const& mine, std::span<std::size_t const> which, std::size_t samples) const {
  nlohmann::json own{mine.problem, mine.stopped, nlohmann::json::array()};
  for (std::size_t i = 0; i < mine.rollouts.size() && !group_.alone(); ++i) {
    rollout const& r = mine.rollouts[i];
    own[2].push_back({mine.places[i], r.tokens, r.logp, r.finished, r.score});
  }
  std::vector<nlohmann::json> const parts = gather(group_, own);
  for (nlohmann::json const& part : parts)
    if (std::string const problem = part[0].get<std::string>(); !problem.empty()) throw judge_failed(problem);
  for (nlohmann::json const& part : parts)
    if (part[1].get<bool>()) throw sampling_stopped{};
  if (group_.alone()) return mine.rollouts;
  std::vector<rollout> all(which.size() * samples);
  for (nlohmann::json const& part : parts)
    for (nlohmann::json const& one : part[2]) {
      std::size_t const place = one[0];
      rollout& r = all[place] = {which[place / samples], one[1], one[2], one[3], one[4], ""};
      r.text = session_.tokens.decode(std::span<std::int32_t const>(r.tokens).first(r.tokens.size() - (r.finished ? 1 : 0)), true);
    }
  return all;
}

std::vector<std::size_t> rollout_source::take(std::size_t round, std::size_t count) const {
  std::vector<std::size_t> taken, order(size());
  std::size_t pass = size();  // none drawn yet
  for (std::size_t k = round * count; k < (round + 1) * count; ++k) {
    if (std::size_t const needed = k / size(); taken.empty() || needed != pass) {
      pass = needed;
      std::iota(order.begin(), order.end(), std::size_t{0});
      shuffle(order, std::mt19937_64(mixed(seed_, 0x9e3779b97f4a7c15U + pass)));
    }
    taken.push_back(order[k % size()]);
  }
  return taken;
}

std::vector<rollout_batch> pack_rollouts(rollout_source const& prompts, std::span<rollout const> rollouts,
                                         std::span<std::size_t const> which, std::size_t max_tokens, bool share_prefixes) {
  timed const scope(phase::data);
  std::vector<std::size_t> order(which.begin(), which.end());
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return rollouts[a].prompt < rollouts[b].prompt; });
  std::vector<rollout_batch> batches;
  for (std::size_t i = 0; i < order.size();) {
    std::size_t const prompt = rollouts[order[i]].prompt;
    std::vector<std::int32_t> const& ids = prompts.ids(prompt);
    std::size_t const used = batches.empty() ? 0 : batches.back().batch.size();
    if (batches.empty() || used + ids.size() + rollouts[order[i]].tokens.size() > max_tokens) batches.emplace_back().batch.shares_prefixes = share_prefixes;
    rollout_batch& into = batches.back();
    std::size_t tokens = into.batch.size() + ids.size();
    std::vector<std::span<std::int32_t const>> completions;
    for (; i < order.size() && rollouts[order[i]].prompt == prompt; ++i) {
      tokens += rollouts[order[i]].tokens.size();
      if (!completions.empty() && tokens > max_tokens) break;
      completions.emplace_back(rollouts[order[i]].tokens);
      into.which.push_back(order[i]);
    }
    append(into.batch, ids, completions);
  }
  return batches;
}

std::vector<std::size_t> own_share(rollout_source const& prompts, std::span<rollout const> rollouts, std::span<std::size_t const> which) {
  process_group const& group = prompts.group();
  std::map<std::size_t, std::size_t> tokens;  // of each prompt's rollouts
  for (std::size_t const i : which) {
    std::size_t& sum = tokens[rollouts[i].prompt];
    sum += rollouts[i].tokens.size() + (sum == 0 ? prompts.ids(rollouts[i].prompt).size() : 0);
  }
  if (group.alone() || tokens.size() < static_cast<std::size_t>(group.size()))
    return balanced_share(which, group.rank(), group.size(), [&](std::size_t i) { return prompts.ids(rollouts[i].prompt).size() + rollouts[i].tokens.size(); });
  std::vector<std::size_t> all, mine;
  for (auto const& [prompt, sum] : tokens) all.push_back(prompt);
  std::vector<std::size_t> const own = balanced_share(all, group.rank(), group.size(), [&](std::size_t prompt) { return tokens.at(prompt); });
  std::copy_if(which.begin(), which.end(), std::back_inserter(mine), [&](std::size_t i) { return std::binary_search(own.begin(), own.end(), rollouts[i].prompt); });
  return mine;
}

std::vector<std::size_t> token_offsets(std::span<rollout const> rollouts) {
  std::vector<std::size_t> offsets{0};
  for (rollout const& r : rollouts) offsets.push_back(offsets.back() + r.tokens.size());
  return offsets;
}

row_outputs rollout_rows(causal_lm const& model, pack const& weights, rollout_source const& prompts, std::span<rollout const> rollouts,
                         std::size_t max_tokens) {
  std::vector<std::size_t> const offsets = token_offsets(rollouts);
  std::vector<std::size_t> all(rollouts.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  std::vector<std::size_t> const mine = own_share(prompts, rollouts, all);
  row_outputs out;
  if (model.config().lm_head) out.logp.resize(offsets.back());
  if (model.config().scalar_head) out.value.resize(offsets.back());
  for (rollout_batch const& part : pack_rollouts(prompts, rollouts, mine, max_tokens, model.shares_prefixes())) {
    row_outputs const rows = model.rows(weights, part.batch);
    std::size_t row = 0;
    for (std::size_t const i : part.which)
      for (std::size_t t = offsets[i]; t < offsets[i + 1]; ++t, ++row) {
        if (!out.logp.empty()) out.logp[t] = rows.logp[row];
        if (!out.value.empty()) out.value[t] = rows.value[row];
      }
  }
  prompts.group().sum(out.logp);
  prompts.group().sum(out.value);
  return out;
}

policy_evaluator::policy_evaluator(rollout_source prompts, causal_lm const& model, pack start, std::size_t samples, std::size_t micro_batch_tokens)
    : prompts_(std::move(prompts)), model_(model), start_(std::move(start)), samples_(samples), micro_batch_tokens_(micro_batch_tokens) {}

policy_evaluation policy_evaluator::measure(pack const& weights, std::size_t round) {
  std::vector<std::size_t> which(prompts_.size());
  std::iota(which.begin(), which.end(), std::size_t{0});
  mixture_term const policy[] = {{1, &weights}};
  last = prompts_.sample(policy, which, samples_, 0);
  std::vector<double> const before = rollout_rows(model_, start_, prompts_, last, micro_batch_tokens_).logp;
  std::vector<double> const now = rollout_rows(model_, weights, prompts_, last, micro_batch_tokens_).logp;
  bool const first = start_scores.empty();
  policy_evaluation e{.round = round, .win_rate = 0, .completions = last.size()};
  auto const n = static_cast<double>(last.size());
  for (std::size_t t = 0; t < now.size(); ++t) e.kl += now[t] - before[t];
  std::vector<double> by_prompt(which.size());
  for (std::size_t i = 0; i < last.size(); ++i) {
    rollout const& r = last[i];
    if (first) start_scores.push_back(r.score);
    by_prompt[r.prompt] += r.score / static_cast<double>(samples_);
    e.reward += r.score;
    e.length += static_cast<double>(r.tokens.size());
    e.finished += r.finished ? 1 : 0;
    e.win_rate += r.score > start_scores[i] ? 1 : r.score == start_scores[i] ? 0.5 : 0;
  }
  for (double policy_evaluation::*mean : {&policy_evaluation::kl, &policy_evaluation::reward, &policy_evaluation::length,
                                          &policy_evaluation::finished, &policy_evaluation::win_rate})
    e.*mean /= n;
  double squares = 0;
  for (double const mean : by_prompt) squares += (mean - e.reward) * (mean - e.reward);
  auto const m = static_cast<double>(by_prompt.size());
  e.reward_stderr = m > 1 ? std::sqrt(squares / (m - 1) / m) : 0;
  return e;
}

}  // namespace kedge::llm
