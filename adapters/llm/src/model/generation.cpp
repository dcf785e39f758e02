// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/model/generation.hpp>

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include <kedge/llm/base/error.hpp>

#include "decoder.hpp"
#include "page_table.hpp"
#include "sampler.hpp"
#include "token_draws.hpp"
#include "../base/thread_pool.hpp"

namespace kedge::llm {
namespace {

using token_ids = std::vector<std::int32_t>;

constexpr std::size_t prompt_tokens_a_step = 512;  // bounds the activations of a step

void check(std::span<mixture_term const> policy) {
  double sum = 0;
  for (mixture_term const& term : policy) sum += term.weight;
  if (!(std::abs(sum - 1) < 1e-6)) throw error("the weights of a mixture have to sum to one, not " + std::to_string(sum));
}

void check(transformer_config const& config, std::span<token_ids const> prompts, std::size_t samples, sampling_settings const& s) {
  if (samples == 0) throw error("the number of samples a prompt must be at least 1");
  if (s.batch_size == 0) throw error("the batch size must be at least 1");
  if (s.max_new_tokens == 0) throw error("the number of new tokens must be at least 1");
  if (!(s.temperature >= 0) || !std::isfinite(s.temperature)) throw error("the temperature must be 0 or positive, not " + std::to_string(s.temperature));
  if (!(s.top_p >= 0 && s.top_p <= 1)) throw error("top_p must be from 0 to 1, not " + std::to_string(s.top_p));
  if (!s.numbers.empty() && s.numbers.size() != prompts.size())
    throw error(std::to_string(s.numbers.size()) + " numbers of samples for " + std::to_string(prompts.size()) + " prompts; give one each, or none");
  if (!(s.min_p >= 0 && s.min_p <= 1)) throw error("min_p must be from 0 to 1, not " + std::to_string(s.min_p));
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    std::string const where = "prompt " + std::to_string(i + 1);
    if (prompts[i].empty()) throw error(where + " has no token to go on from");
    if (static_cast<std::int64_t>(prompts[i].size()) >= config.generation_positions())
      throw error(where + " has " + std::to_string(prompts[i].size()) + " tokens and leaves no room for an answer: the model has " +
                  std::to_string(config.generation_positions()) + " positions");
    if (s.max_length > 0 && prompts[i].size() >= s.max_length)
      throw error(where + " has " + std::to_string(prompts[i].size()) + " tokens and leaves no room for an answer: max_length is " + std::to_string(s.max_length));
    for (std::int32_t const id : prompts[i])
      if (id < 0 || id >= config.vocabulary)
        throw error(where + " holds token " + std::to_string(id) + ", the model knows 0 to " + std::to_string(config.vocabulary - 1));
  }
}

// How many leading tokens all prompts share, short of the last token of any.
std::size_t shared_prefix(std::span<token_ids const> prompts) {
  if (prompts.size() < 2) return 0;
  std::size_t n = prompts.front().size() - 1;
  for (token_ids const& prompt : prompts) {
    n = std::min(n, prompt.size() - 1);
    n = static_cast<std::size_t>(std::mismatch(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(n), prompts.front().begin()).first -
                                 prompt.begin());
  }
  return n;
}

// Σ_j weight_j log π_j up to a constant a row, which normalising takes away.
class policy_decoders {
 public:
  policy_decoders(causal_lm const& model, std::span<mixture_term const> policy, thread_pool& threads) {
    for (mixture_term const& term : policy) {
      if (term.weight == 0) continue;
      weights_.push_back(term.weight);
      decoders_.push_back(make_decoder(model, whole_.emplace_back(model.whole(*term.weights)), threads));
    }
  }
  void reserve(std::int32_t pages) {
    for (auto& d : decoders_) d->reserve(pages);
  }
  void copy_page(std::int32_t from, std::int32_t to) {
    for (auto& d : decoders_) d->copy_page(from, to);
  }
  at::Tensor logits(step_batch const& batch) {
    at::Tensor first = decoders_.front()->logits(batch);
    if (decoders_.size() == 1 && weights_.front() == 1) return first;
    at::Tensor sum = at::mul(first, weights_.front());
    for (std::size_t j = 1; j < decoders_.size(); ++j) sum.add_(decoders_[j]->logits(batch), weights_[j]);
    return sum;
  }

 private:
  std::vector<double> weights_;
  std::list<pack> whole_;  // of a model that is divided, for as long as tokens are drawn
  std::vector<std::unique_ptr<decoder>> decoders_;
};

// A prompt whose keys and values are being computed, or wait for samples to start from them.
struct open_prompt {
  std::size_t index = 0, samples_left = 0;
  page_table cache;
};

struct sequence {
  std::shared_ptr<open_prompt> prompt;
  std::optional<page_table> cache;  // from the moment it is decoded
  sampled_completion result;
};

class sampling_run {
 public:
  sampling_run(policy_decoders& decoders, thread_pool& threads, std::int64_t max_positions, std::span<token_ids const> prompts,
               std::size_t samples, sampling_settings const& settings)
      : prompts_(prompts), samples_(samples), settings_(settings), limit_(max_positions), threads_(threads), decoders_(decoders) {}

  void run(std::function<bool(sampled_completion&&)> const& take, std::function<bool(std::size_t, std::size_t)> const& on_progress) {
    std::size_t const all = prompts_.size() * samples_;
    compute_shared_prefix();
    while (done_ < all) {
      admit();
      step();
      for (auto next = results_.begin(); next != results_.end() && next->first == handed_over_; next = results_.erase(next), ++handed_over_)
        if (!take(std::move(next->second))) return;
      if (on_progress && !on_progress(done_, all)) return;
    }
  }

 private:
  void compute_shared_prefix() {
    std::size_t const n = shared_prefix(prompts_);
    for (std::size_t begin = 0; begin < n; begin += prompt_tokens_a_step) {
      step_batch batch;
      for (std::size_t i = begin; i < std::min(n, begin + prompt_tokens_a_step); ++i) push(batch, prompts_.front()[i], prefix_.append(), 0);
      batch.tables.emplace_back(prefix_.pages());
      compute(batch);
    }
  }

  // Fills free places: first with sequences whose prompts are done, then with new prompts.
  void admit() {
    for (; active_.size() < settings_.batch_size && !ready_.empty(); ready_.pop_front()) {
      sequence& next = active_.emplace_back(std::move(ready_.front()));
      bool const last = --next.prompt->samples_left == 0;
      next.cache.emplace(last ? std::move(next.prompt->cache) : fork(next.prompt->cache));
      next.prompt.reset();
    }
    std::size_t coming = active_.size() + ready_.size() + opening_.size() * samples_;
    for (; coming < settings_.batch_size && next_prompt_ < prompts_.size(); coming += samples_, ++next_prompt_)
      opening_.push_back(std::make_shared<open_prompt>(open_prompt{next_prompt_, samples_, fork(prefix_)}));
  }

  // One token more for every active sequence, and the next tokens of opening prompts.
  void step() {
    step_batch batch;
    for (sequence& s : active_) {
      batch.rows.push_back(static_cast<std::int32_t>(batch.size()));
      push(batch, s.result.tokens.back(), s.cache->append(), batch.tables.size());
      batch.tables.emplace_back(s.cache->pages());
    }
    std::vector<std::shared_ptr<open_prompt>> complete;
    std::size_t budget = prompt_tokens_a_step;
    for (auto const& prompt : opening_) {
      token_ids const& ids = prompts_[prompt->index];
      if (budget == 0) break;
      for (; budget > 0 && prompt->cache.length() < static_cast<std::int64_t>(ids.size()); --budget) {
        std::int32_t const id = ids[static_cast<std::size_t>(prompt->cache.length())];
        push(batch, id, prompt->cache.append(), batch.tables.size());
      }
      batch.tables.emplace_back(prompt->cache.pages());
      if (prompt->cache.length() < static_cast<std::int64_t>(ids.size())) break;
      batch.rows.push_back(static_cast<std::int32_t>(batch.size()) - 1);
      complete.push_back(prompt);
    }
    opening_.erase(opening_.begin(), opening_.begin() + static_cast<std::ptrdiff_t>(complete.size()));
    at::Tensor const logits = compute(batch);
    for (auto const& prompt : complete)
      for (std::size_t k = 0; k < samples_; ++k) started_.push_back({prompt, {}, {prompt->index, k, {}, {}, false}});
    draw(logits);
    retire();
  }

  // The next token of every active sequence, and the first of every started one.
  void draw(at::Tensor const& logits) {
    std::size_t const n = active_.size() + started_.size();
    auto const of = [&](std::size_t i) -> sequence& { return i < active_.size() ? active_[i] : started_[i - active_.size()]; };
    std::vector<wanted_token> wanted;
    for (std::size_t i = 0; i < n; ++i) {
      sequence const& s = of(i);
      std::size_t const row = i < active_.size() ? i : active_.size() + (i - active_.size()) / samples_;
      wanted.push_back({row, place_of(s), settings_.temperature == 0 ? 0 : uniform_of(s.result)});
    }
    std::vector<token_draw> const drawn = draw_tokens(logits, wanted, settings_, threads_);
    for (std::size_t i = 0; i < n; ++i) {
      sampled_completion& result = of(i).result;
      result.tokens.push_back(drawn[i].token);
      result.logp.push_back(drawn[i].logp);
      result.finished = std::find(settings_.stop_tokens.begin(), settings_.stop_tokens.end(), drawn[i].token) != settings_.stop_tokens.end();
    }
  }

  double uniform_of(sampled_completion const& c) const {
    sample_number const number = settings_.numbers.empty() ? sample_number{c.prompt, 0} : settings_.numbers[c.prompt];
    return uniform_draw(settings_.seed, number.prompt, number.sample + c.sample, c.tokens.size());
  }

  decoding_place place_of(sequence const& s) const {
    token_ids const& prompt = prompts_[s.result.prompt];
    std::size_t const all = settings_.max_length > 0 ? std::min(settings_.max_length, static_cast<std::size_t>(limit_)) : static_cast<std::size_t>(limit_);
    return {prompt, s.result.tokens, std::min(settings_.max_new_tokens, all - prompt.size()), settings_.stop_tokens};
  }

  void retire() {
    auto const ended = [&](sequence& s) {
      if (!s.result.finished && s.result.tokens.size() < place_of(s).max_new_tokens) return false;
      if (s.prompt) --s.prompt->samples_left;
      results_.emplace(s.result.prompt * samples_ + s.result.sample, std::move(s.result));
      ++done_;
      return true;
    };
    std::erase_if(active_, ended);
    std::erase_if(started_, ended);
    std::move(started_.begin(), started_.end(), std::back_inserter(ready_));
    started_.clear();
  }

  at::Tensor compute(step_batch const& batch) {
    decoders_.reserve(pool_.size());
    return decoders_.logits(batch);
  }

  static void push(step_batch& batch, std::int32_t token, std::int64_t position, std::size_t table) {
    batch.tokens.push_back(token);
    batch.positions.push_back(static_cast<std::int32_t>(position));
    batch.sequence.push_back(static_cast<std::int32_t>(table));
  }

  page_table fork(page_table const& from) {
    return from.fork([&](std::int32_t a, std::int32_t b) {
      decoders_.reserve(pool_.size());
      decoders_.copy_page(a, b);
    });
  }

  std::span<token_ids const> prompts_;
  std::size_t samples_;
  sampling_settings const& settings_;
  std::int64_t limit_;
  thread_pool& threads_;
  policy_decoders& decoders_;
  page_pool pool_;
  page_table prefix_{pool_};
  std::vector<sequence> active_, started_;
  std::deque<sequence> ready_;
  std::vector<std::shared_ptr<open_prompt>> opening_;
  std::map<std::size_t, sampled_completion> results_;
  std::size_t next_prompt_ = 0, done_ = 0, handed_over_ = 0;
};

}  // namespace

struct prepared_policy::state {
  causal_lm const& model;
  policy_decoders decoders;

  state(causal_lm const& lm, std::span<mixture_term const> policy) : model(lm), decoders(lm, policy, shared_pool()) {}
};

prepared_policy::prepared_policy(causal_lm const& model, std::span<mixture_term const> policy) {
  at::NoGradGuard const no_grad;
  check(policy);
  state_ = std::make_unique<state>(model, policy);
}
prepared_policy::prepared_policy(prepared_policy&&) noexcept = default;
prepared_policy::~prepared_policy() = default;

void generate_each(prepared_policy& policy, std::span<token_ids const> prompts, std::size_t samples_per_prompt,
                   sampling_settings const& settings, std::function<bool(sampled_completion&&)> const& take,
                   std::function<bool(std::size_t done, std::size_t all)> const& on_progress) {
  at::NoGradGuard const no_grad;
  auto& [model, decoders] = *policy.state_;
  check(model.config(), prompts, samples_per_prompt, settings);
  sampling_run(decoders, shared_pool(), model.config().generation_positions(), prompts, samples_per_prompt, settings).run(take, on_progress);
}

std::vector<sampled_completion> generate(causal_lm const& model, std::span<mixture_term const> policy, std::span<token_ids const> prompts,
                                         std::size_t samples_per_prompt, sampling_settings const& settings,
                                         std::function<bool(std::size_t done, std::size_t all)> const& on_progress) {
  std::vector<sampled_completion> all;
  prepared_policy prepared(model, policy);
  auto const keep = [&](sampled_completion&& one) {
    all.push_back(std::move(one));
    return true;
  };
  generate_each(prepared, prompts, samples_per_prompt, settings, keep, on_progress);
  return all;
}

}  // namespace kedge::llm
