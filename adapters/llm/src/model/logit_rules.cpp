// SPDX-License-Identifier: Apache-2.0
#include "logit_edits.hpp"

#include <algorithm>  // equal, sort, stable_sort, unique
#include <cmath>      // pow
#include <limits>     // numeric_limits
#include <utility>    // move

namespace kedge::llm {
namespace {

using tokens_view = std::span<std::int32_t const>;

/// Prompt and completion as one list.
std::vector<std::int32_t> written(decoding_place const& place) {
  std::vector<std::int32_t> all(place.prompt.begin(), place.prompt.end());
  all.insert(all.end(), place.completion.begin(), place.completion.end());
  return all;
}

/// Writes down what each rule changes.
class rule_book {
 public:
  rule_book(logit_rules const& rules, decoding_place const& place, std::size_t vocabulary) : rules_(rules), place_(place), vocabulary_(vocabulary), all_(written(place)) {}

  std::vector<score_edit> edits() {
    add_bias(rules_.sequence_bias);
    if (rules_.encoder_repetition_penalty != 1) penalise(place_.prompt, 1 / rules_.encoder_repetition_penalty);
    if (rules_.repetition_penalty != 1) penalise(all_, rules_.repetition_penalty);
    if (rules_.no_repeat_ngram_size > 0) forbid_repeats(all_, rules_.no_repeat_ngram_size);
    if (rules_.encoder_no_repeat_ngram_size > 0) forbid_repeats(place_.prompt, rules_.encoder_no_repeat_ngram_size);
    add_bias(bad_words());
    if (all_.size() < rules_.min_length || place_.completion.size() < rules_.min_new_tokens) forbid(place_.stop_tokens);
    if (rules_.forced_bos && all_.size() == 1) force({&*rules_.forced_bos, 1});
    if (!rules_.forced_eos.empty() && place_.completion.size() + 1 == place_.max_new_tokens) force(rules_.forced_eos);
    if (rules_.exponential_decay) decay(rules_.exponential_decay->first, rules_.exponential_decay->second);
    forbid(rules_.suppress);
    std::size_t const first = rules_.forced_bos && place_.prompt.size() == 1 ? 1 : 0;
    if (place_.completion.size() == first) forbid(rules_.begin_suppress);
    return std::move(edits_);
  }

 private:
  static constexpr double out = -std::numeric_limits<double>::infinity();

  void edit(std::int32_t token, score_change change, double by) {
    if (token >= 0 && static_cast<std::size_t>(token) < vocabulary_) edits_.push_back({token, change, by});
  }

  void forbid(tokens_view tokens) {
    for (std::int32_t const token : tokens) edit(token, score_change::set, out);
  }

  void force(tokens_view tokens) {
    edits_.assign(1, {every_token, score_change::set, out});  // what was changed before no longer matters
    for (std::int32_t const token : tokens) edit(token, score_change::set, 0);
  }

  void add_bias(std::vector<logit_rules::biased_sequence> const& sequences) {
    for (auto const& [tokens, bias] : sequences) {
      std::size_t const before = tokens.size() - 1;
      bool const reached = before <= all_.size() && std::equal(tokens.begin(), tokens.end() - 1, all_.end() - static_cast<std::ptrdiff_t>(before));
      if (reached) edit(tokens.back(), score_change::add, bias);
    }
  }

  /// A stop token by itself is never a bad word.
  std::vector<logit_rules::biased_sequence> bad_words() const {
    std::vector<logit_rules::biased_sequence> kept;
    for (auto const& word : rules_.bad_words) {
      bool const stops = word.tokens.size() == 1 && std::find(place_.stop_tokens.begin(), place_.stop_tokens.end(), word.tokens[0]) != place_.stop_tokens.end();
      if (!stops) kept.push_back(word);
    }
    return kept;
  }

  void penalise(tokens_view tokens, double penalty) {
    std::vector<std::int32_t> once(tokens.begin(), tokens.end());
    std::sort(once.begin(), once.end());
    once.erase(std::unique(once.begin(), once.end()), once.end());
    for (std::int32_t const token : once) edit(token, score_change::divide, penalty);
  }

  /// Rules out what would complete a sequence of `size` tokens that `among` has already.
  void forbid_repeats(tokens_view among, std::size_t size) {
    if (all_.size() + 1 < size || among.size() < size) return;
    auto const last = all_.end() - static_cast<std::ptrdiff_t>(size - 1);
    for (std::size_t i = 0; i + size <= among.size(); ++i)
      if (std::equal(last, all_.end(), among.begin() + static_cast<std::ptrdiff_t>(i))) forbid(among.subspan(i + size - 1, 1));
  }

  void decay(std::size_t start, double factor) {
    if (place_.completion.size() <= start) return;
    double const gain = std::pow(factor, static_cast<double>(place_.completion.size() - start)) - 1;
    for (std::int32_t const token : place_.stop_tokens) edit(token, score_change::enlarge, gain);
  }

  logit_rules const& rules_;
  decoding_place const& place_;
  std::size_t vocabulary_;
  std::vector<std::int32_t> all_;
  std::vector<score_edit> edits_;
};

template <class Real>
void apply_edits(logit_rules const& rules, decoding_place const& place, std::span<Real> scores) {
  for (score_edit const& edit : edits_of(rules, place, scores.size()))
    for (Real& score : edit.token == every_token ? scores : scores.subspan(static_cast<std::size_t>(edit.token), 1)) score = edited(score, edit);
}

}  // namespace

std::vector<score_edit> edits_of(logit_rules const& rules, decoding_place const& place, std::size_t vocabulary) { return rule_book(rules, place, vocabulary).edits(); }

std::vector<score_edit> edits_by_token(logit_rules const& rules, decoding_place const& place, std::size_t vocabulary) {
  std::vector<score_edit> edits = edits_of(rules, place, vocabulary);
  std::stable_sort(edits.begin(), edits.end(), [](score_edit const& a, score_edit const& b) { return a.token < b.token; });
  return edits;
}

void apply(logit_rules const& rules, decoding_place const& place, std::span<float> scores) { apply_edits(rules, place, scores); }
void apply(logit_rules const& rules, decoding_place const& place, std::span<double> scores) { apply_edits(rules, place, scores); }

}  // namespace kedge::llm
