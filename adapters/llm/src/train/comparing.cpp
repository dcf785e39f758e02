// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/interrupt.hpp>
#include <kedge/llm/data/ragged.hpp>
#include <kedge/llm/model/generation.hpp>
#include <kedge/llm/train/comparing.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "dealt_samples.hpp"
#include "join_run.hpp"
#include "rollout.hpp"
#include "sampling_choice.hpp"
#include "session.hpp"
#include "stop_watch.hpp"

namespace kedge::llm {
namespace {

/// A model opened, without its weights.
struct side {
  side(char const* called, std::filesystem::path const& model, generate_settings const& asked, device_settings const& compute)
      : name(called),
        opened(model, compute, asked.quiet ? screen() : asked.tells),
        sampling(chosen_sampling(opened, asked, default_new_tokens)),
        prompts(opened.read_prompts(asked.prompts, asked.reads())) {}

  char const* name;
  session opened;
  sampling_settings sampling;
  encoded_prompts prompts;
};

/// Its weights, for as long as they are needed.
struct loaded {
  explicit loaded(session const& s) : model(s.config, s.compute), weights(model.weights_for(s.load_on_host())) {}

  causal_lm model;
  pack weights;
};

// Where lines that can't be used are skipped, one side may have skipped more.
void keep_common(encoded_prompts& one, encoded_prompts const& other) {
  std::set<std::size_t> lines;
  for (prompt_example const& e : other.examples) lines.insert(e.line);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < one.examples.size(); ++i) {
    if (!lines.contains(one.examples[i].line)) continue;
    if (kept != i) one.examples[kept] = std::move(one.examples[i]), one.ids[kept] = std::move(one.ids[i]);
    ++kept;
  }
  one.examples.resize(kept);
  one.ids.resize(kept);
}

// Those that this process answers; numbers tell which they are.
void keep_share(side& s, std::vector<std::size_t> const& mine) {
  encoded_prompts own;
  for (std::size_t const i : mine) {
    own.examples.push_back(s.prompts.examples[i]);
    own.ids.push_back(s.prompts.ids[i]);
    s.sampling.numbers.push_back({i, 0});
  }
  s.prompts = std::move(own);
}

// What decides how tokens are drawn, without the tokens that end a completion: they belong to the vocabulary.
bool draw_alike(sampling_settings a, sampling_settings const& b) {
  auto const figures = [](sampling_settings const& s) {
    return std::tuple(s.max_new_tokens, s.max_length, s.temperature, s.top_p, s.min_p, s.top_k, s.top_h, s.typical_p,
                      s.epsilon_cutoff, s.eta_cutoff);
  };
  return figures(a) == figures(b) && a.rules == b.rules;
}

// Tokens come from the model's own distribution.
bool draws_as_it_is(sampling_settings const& s) {
  sampling_settings plain;
  plain.max_new_tokens = s.max_new_tokens;
  plain.max_length = s.max_length;
  return draw_alike(s, plain);
}

bool same_tokens(tokenizer const& a, tokenizer const& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a.token_of(static_cast<std::int32_t>(i)) != b.token_of(static_cast<std::int32_t>(i))) return false;
  return true;
}

// B's answers fit behind A's prompts.
bool have_room(side const& a, side const& b) {
  for (std::size_t i = 0; i < a.prompts.ids.size(); ++i) {
    auto const longest = std::min(static_cast<std::int64_t>(b.sampling.max_new_tokens),
                                  b.opened.config.generation_positions() - static_cast<std::int64_t>(b.prompts.ids[i].size()));
    if (static_cast<std::int64_t>(a.prompts.ids[i].size()) + longest > a.opened.config.generation_positions()) return false;
  }
  return true;
}

std::string reason_against_kl(side const& a, side const& b) {
  if (!same_tokens(a.opened.tokens, b.opened.tokens)) return "the models have different tokenizers";
  if (!draws_as_it_is(b.sampling))
    return "B's tokens are not drawn from its own distribution; --temperature 1 --top_k 0 --top_p 1 --min_p 0 draws them so, "
           "if its "
           "generation_config.json has no other rules";
  if (!have_room(a, b)) return "A has fewer positions than B's answers may take; lower --max_new_tokens";
  return {};
}

using samples = std::vector<sampled_completion>;

// Ctrl-C, here or in another process.
class stop_watcher {
 public:
  explicit stop_watcher(process_group const& group) : group_(group) {}
  [[nodiscard]] bool requested() const {
    if (!stopped_ && guard_.requested()) group_.ask_to_stop();
    return stopped_ = stopped_ || guard_.requested() || group_.asked_to_stop();
  }

 private:
  process_group const& group_;
  interrupt_guard guard_;
  mutable bool stopped_ = false;
};

samples draw(side const& from, loaded const& policy, generate_settings const& asked, stop_watcher const& interrupt) {
  stop_watch const watch;
  mixture_term const terms[] = {{1, &policy.weights}};
  std::string const what = std::string("answers of ") + from.name;
  return generate(policy.model, terms, from.prompts.ids, asked.num_samples, from.sampling,
                  [&](std::size_t done, std::size_t all) {
                    if (!asked.quiet) show_progress(asked.tells, done, all, what.c_str(), watch.seconds());
                    return !interrupt.requested();
                  });
}

// Σ log π over the tokens of each completion, behind a model's own prompts.
std::vector<double> log_probs_of(loaded const& policy, encoded_prompts const& prompts, samples const& all,
                                 std::size_t most_tokens) {
  std::vector<double> sums;
  ragged_batch batch;
  auto const flush = [&] {
    if (batch.sequences > 0) {
      std::vector<double> const part = policy.model.log_probs(policy.weights, batch);
      sums.insert(sums.end(), part.begin(), part.end());
    }
    batch = {};
    batch.shares_prefixes = policy.model.shares_prefixes();
  };
  flush();
  for (std::size_t i = 0; i < all.size();) {
    std::vector<std::int32_t> const& prompt = prompts.ids[all[i].prompt];
    std::vector<std::span<std::int32_t const>> completions;
    std::size_t tokens = prompt.size();
    for (std::size_t const which = all[i].prompt; i < all.size() && all[i].prompt == which; ++i) {
      if (!completions.empty() && tokens + all[i].tokens.size() > most_tokens) break;
      tokens += all[i].tokens.size();
      completions.emplace_back(all[i].tokens);
    }
    if (batch.size() + tokens > most_tokens) flush();
    append(batch, prompt, completions);
  }
  flush();
  return sums;
}

void add(answers& to, sampled_completion const& one, tokenizer const& words) {
  std::span<std::int32_t const> const text(one.tokens.data(), one.tokens.size() - (one.finished ? 1 : 0));
  to.texts.push_back(words.decode(text, true));
  to.tokens += one.tokens.size();
  to.finished += one.finished ? 1 : 0;
}

// Answers of both, and the log-probabilities of B's.
struct drawn {
  samples a, b;
  std::vector<double> under_a, under_b;
};

// Nothing if it was interrupted.
std::optional<drawn> draw_both(side const& a, side const& b, bool with_kl, generate_settings const& asked,
                               stop_watcher const& interrupt) {
  std::size_t const most_tokens = std::min(a.opened.scored_at_once, b.opened.scored_at_once);
  drawn out;
  {
    loaded const policy(b.opened);
    out.b = draw(b, policy, asked, interrupt);
    if (interrupt.requested()) return std::nullopt;
    if (with_kl) out.under_b = log_probs_of(policy, b.prompts, out.b, most_tokens);
  }
  loaded const policy(a.opened);
  out.a = draw(a, policy, asked, interrupt);
  if (interrupt.requested()) return std::nullopt;
  if (with_kl) out.under_a = log_probs_of(policy, a.prompts, out.b, most_tokens);
  return out;
}

// False if it was interrupted.
bool reward(comparison& out, scorer const& judge, generate_settings const& asked, stop_watcher const& interrupt) {
  constexpr std::size_t prompts_at_once = 32;
  stop_watch const watch;
  for (std::size_t first = 0; first < out.prompts.size(); first += prompts_at_once) {
    if (interrupt.requested()) return false;
    std::span<compared_prompt> const part =
        std::span(out.prompts).subspan(first, std::min(prompts_at_once, out.prompts.size() - first));
    std::vector<judged> questions;
    for (compared_prompt const& p : part)
      for (answers const* said : {&p.a, &p.b})
        for (std::string const& text : said->texts) questions.push_back({p.prompt, text});
    std::vector<double> const scores = judge(questions);
    std::size_t next = 0;
    for (compared_prompt& p : part)
      for (answers* said : {&p.a, &p.b})
        for (std::size_t i = 0; i < said->texts.size(); ++i) said->rewards.push_back(scores[next++]);
    if (!asked.quiet) show_progress(asked.tells, first + part.size(), out.prompts.size(), "prompts judged", watch.seconds());
  }
  return true;
}

// What both say to their prompts. False if it was interrupted.
bool answer(comparison& out, side const& a, side const& b, generate_settings const& asked, stop_watcher const& interrupt) {
  bool const with_kl = out.no_kl.empty();
  std::optional<drawn> const said = draw_both(a, b, with_kl, asked, interrupt);
  if (!said) return false;
  for (prompt_example const& e : a.prompts.examples) out.prompts.push_back({.prompt = e.prompt, .a = {}, .b = {}});
  for (sampled_completion const& one : said->a) add(out.prompts[one.prompt].a, one, a.opened.tokens);
  for (std::size_t i = 0; i < said->b.size(); ++i) {
    compared_prompt& p = out.prompts[said->b[i].prompt];
    add(p.b, said->b[i], b.opened.tokens);
    if (with_kl) p.log_ratio += said->under_b[i] - said->under_a[i];
  }
  return true;
}

nlohmann::json packed(answers const& one) { return {one.texts, one.rewards, one.tokens, one.finished}; }
answers unpacked(nlohmann::json const& one) { return {one[0], one[1], one[2], one[3]}; }

// A comparison of which each process of a group makes a part. What fails in one fails in all, with its words; one that is interrupted stops all.
struct shared_comparison {
  process_group const& group;
  std::vector<std::size_t> mine;  ///< prompts
  bool one_judge;
  using work = std::function<bool(comparison&)>;

  [[nodiscard]] std::optional<comparison> of(comparison out, work const& answers, work const& rewards) const {
    if (!together([&] { return answers(out) && (one_judge || rewards(out)); })) return std::nullopt;
    merge(out);
    if (one_judge && !together([&] { return !group.leads() || rewards(out); })) return std::nullopt;
    return out;
  }

 private:
  [[nodiscard]] bool together(std::function<bool()> const& task) const {
    bool done = false;
    std::string problem;
    try {
      done = task();
    } catch (error const& e) {
      if (group.alone()) throw;
      problem = e.what();
      group.ask_to_stop();
    }
    for (std::string const& text : group.gather(problem))
      if (!text.empty()) throw error(text);
    return !group.any(!done);
  }

  void merge(comparison& out) const {
    if (group.alone()) return;
    nlohmann::json own = nlohmann::json::array();
    for (std::size_t i = 0; i < mine.size(); ++i) {
      compared_prompt const& p = out.prompts[i];
      own.push_back({mine[i], p.prompt.dump(), packed(p.a), packed(p.b), p.log_ratio});
    }
    std::map<std::size_t, compared_prompt> all;
    for (nlohmann::json const& part : gather(group, own))
      for (nlohmann::json const& one : part)
        all[one[0]] = {nlohmann::ordered_json::parse(one[1].get_ref<std::string const&>()), unpacked(one[2]), unpacked(one[3]), one[4]};
    out.prompts.clear();
    for (auto& [number, prompt] : all) out.prompts.push_back(std::move(prompt));
  }
};

}  // namespace

std::optional<comparison> compare_models(compare_settings const& settings) {
  generate_settings const& asked = settings.generate;
  device_settings compute = asked.compute;
  process_group const group = join(asked.where, compute, asked.ddp_timeout);
  screen const tells = asked.quiet ? screen() : asked.tells;
  side a("A", asked.model, asked, compute), b("B", settings.other, asked, compute);
  keep_common(a.prompts, b.prompts);
  keep_common(b.prompts, a.prompts);
  if (a.prompts.ids.empty()) throw error(asked.prompts.string() + ": no prompt in it that both models can use");
  if (!draw_alike(a.sampling, b.sampling))
    tells.say("the models' generation_config.json differ, and each model answers by its own; flags are for both");
  comparison out{.prompts = {}, .no_kl = reason_against_kl(a, b)};
  std::vector<std::size_t> mine(a.prompts.ids.size());
  std::iota(mine.begin(), mine.end(), std::size_t{0});
  std::size_t const longest = asked.num_samples * (a.sampling.max_new_tokens + b.sampling.max_new_tokens);
  mine = balanced_share(std::span<std::size_t const>(mine), group.rank(), group.size(), [&](std::size_t i) { return a.prompts.ids[i].size() + longest; });
  for (side* const s : {&a, &b}) keep_share(*s, mine);
  scorer const judge = make_scorer(settings.rewards, a.opened, compute, group);
  stop_watcher const interrupt(group);
  shared_comparison all{group, std::move(mine), settings.rewards.judge_processes == judging::leading};
  return all.of(std::move(out), [&](comparison& own) { return answer(own, a, b, asked, interrupt); },
                [&](comparison& own) { return reward(own, judge, asked, interrupt); });
}

}  // namespace kedge::llm
