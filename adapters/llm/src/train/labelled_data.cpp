// SPDX-License-Identifier: Apache-2.0
#include "labelled_data.hpp"

#include <algorithm>
#include <array>

namespace kedge::llm {

labelled_data::labelled_data(std::vector<unpaired_ids> examples, std::size_t block, std::size_t max_length)
    : examples_(std::move(examples)), block_(block), max_length_(max_length) {
  if (max_length_ > 0) left_out_ = std::erase_if(examples_, [&](unpaired_ids const& one) { return one.prompt.size() >= max_length_; });
}

std::span<std::int32_t const> labelled_data::completion(std::size_t i, follows what) const {
  std::size_t from = i;
  if (what == follows::other) {
    std::size_t const begin = i / block_ * block_, end = std::min(begin + block_, examples_.size());
    from = i == begin ? end - 1 : i - 1;
  }
  std::span<std::int32_t const> const whole(examples_[from].completion);
  return max_length_ == 0 ? whole : whole.first(std::min(whole.size(), max_length_ - examples_[i].prompt.size()));
}

ragged_batch labelled_data::pack(std::span<std::size_t const> which, follows what, bool shares_prefixes) const {
  ragged_batch batch;
  batch.shares_prefixes = shares_prefixes;
  for (std::size_t const i : which) {
    std::array const one{completion(i, what)};
    append(batch, examples_[i].prompt, one);
  }
  return batch;
}

std::vector<std::size_t> labelled_data::own_share(process_group const& group, std::span<std::size_t const> step) const {
  return balanced_share(step, group.rank(), group.size(), [&](std::size_t i) { return tokens(i, follows::own); });
}

std::vector<std::span<std::size_t const>> labelled_data::cut(std::span<std::size_t const> which, std::size_t max_tokens, follows what) const {
  return cut_by_tokens(which, max_tokens, [&](std::size_t i) { return tokens(i, what); });
}

labelled_metrics::labelled_metrics(labelled_data const& data, std::span<std::size_t const> which, std::size_t batch)
    : data_(data), batches_(which, batch), tokens_(batches_.count()), tokens_chosen_(tokens_), tokens_rejected_(tokens_), chosen_(tokens_), rejected_(tokens_) {
  for (std::size_t const i : which) {
    std::size_t const place = batches_.of(i), tokens = data.rows(i);
    tokens_.add(place, tokens);
    (data.desirable(i) ? tokens_chosen_ : tokens_rejected_).add(place, tokens);
    (data.desirable(i) ? chosen_ : rejected_).add(place, 1);
  }
  for (std::size_t b = 0; b < batches_.count(); ++b) mixed_ += chosen_.has(b) && rejected_.has(b) ? 1 : 0;
}

void labelled_metrics::begin(step_report& report) const {
  report.begin("kl", batches_.count());
  report.begin("entropy", batches_.count());
  report.begin("logits/chosen", tokens_chosen_.batches());
  report.begin("logits/rejected", tokens_rejected_.batches());
  report.begin("rewards/chosen", chosen_.batches());
  report.begin("logps/chosen", chosen_.batches());
  report.begin("rewards/rejected", rejected_.batches());
  report.begin("logps/rejected", rejected_.batches());
  report.begin("rewards/margins", mixed_);
}

void labelled_metrics::add(std::size_t example, labelled_figures const& figures, double reference, double beta, step_report& report) const {
  bool const desirable = data_.desirable(example);
  std::size_t const place = batches_.of(example);
  batch_shares const& of_kind = desirable ? chosen_ : rejected_;
  double const reward = beta * (figures.logp - reference), share = of_kind.of(place, of_kind.batches());
  report.add(desirable ? "rewards/chosen" : "rewards/rejected", reward, share);
  report.add(desirable ? "logps/chosen" : "logps/rejected", figures.logp, share);
  if (chosen_.has(place) && rejected_.has(place)) report.add("rewards/margins", desirable ? reward : -reward, of_kind.of(place, mixed_));
  batch_shares const& tokens = desirable ? tokens_chosen_ : tokens_rejected_;
  if (data_.rows(example) == 0) return;
  report.add("entropy", figures.entropy, tokens_.of(place));
  report.add(desirable ? "logits/chosen" : "logits/rejected", figures.logits, tokens.of(place, tokens.batches()));
}

}  // namespace kedge::llm
