// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/reward_model.hpp>

#include <algorithm>
#include <utility>

#include "reward_head.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

session open_reward_model(std::filesystem::path const& folder, device_settings const& device) {
  session opened(folder, device);
  if (!opened.config.scalar_head)
    throw error(folder.string() + " is a language model, not a reward model; train one from it with kedge reward");
  return opened;
}

std::int32_t padding_of(session const& opened) {
  json const& config = opened.source.config;
  if (config.contains("pad_token_id") && config["pad_token_id"].is_number_integer()) return config["pad_token_id"].get<std::int32_t>();
  return padding_token(opened.source, opened.tokens);
}

}  // namespace

class reward_model::implementation {
 public:
  implementation(std::filesystem::path const& folder, device_settings const& device)
      : opened_(open_reward_model(folder, device)),
        padding_(padding_of(opened_)),
        micro_batch_tokens_(opened_.scored_at_once),
        model_(opened_.config, opened_.compute),
        weights_(model_.weights_for(opened_.load_on_host())) {}

  [[nodiscard]] std::vector<std::int32_t> encode(judged const& item, conversation_encoder const& encoder) const {
    json const completion = item.prompt.is_string() ? encoder.with_end(item.completion)
                                                    : json::array({{{"role", "assistant"}, {"content", item.completion}}});
    return encoder.encode(joined(item.prompt, completion), false, json::object());
  }

  [[nodiscard]] std::vector<double> score(std::span<judged const> completions) const {
    conversation_encoder const encoder = opened_.encoder();
    std::vector<std::vector<std::int32_t>> sequences;
    sequences.reserve(completions.size());
    for (judged const& item : completions) sequences.push_back(encode(item, encoder));
    return score_tokens(std::move(sequences));
  }

  [[nodiscard]] std::vector<double> score_tokens(std::vector<std::vector<std::int32_t>> sequences) const {
    for (auto& tokens : sequences) {
      if (tokens.empty()) throw error("a completion to be rewarded has no tokens");
      drop_padding(tokens, padding_);
    }
    std::vector<double> rewards;
    rewards.reserve(sequences.size());
    for (std::size_t first = 0; first < sequences.size();) {
      ragged_batch batch;
      do first = append_group(batch, sequences, first);
      while (first < sequences.size() && batch.size() + sequences[first].size() <= micro_batch_tokens_);
      std::vector<double> const values = model_.rows(weights_, batch).value;
      rewards.insert(rewards.end(), values.begin(), values.end());
    }
    return rewards;
  }

  session const opened_;

 private:
  // Sequences from `first` on that begin alike for at least half of their length share what they begin with.
  std::size_t append_group(ragged_batch& batch, std::vector<std::vector<std::int32_t>> const& sequences, std::size_t first) const {
    std::size_t shared = sequences[first].size(), tokens = shared, end = first + 1;
    for (; end < sequences.size(); ++end) {
      std::size_t const common = std::min(shared, common_prefix(sequences[first], sequences[end]));
      if (2 * common < std::max(shared, sequences[end].size()) || batch.size() + tokens + sequences[end].size() - common > micro_batch_tokens_) break;
      shared = common;
      tokens += sequences[end].size() - common;
    }
    std::vector<std::span<std::int32_t const>> rests;
    for (std::size_t i = first; i < end; ++i) rests.push_back(std::span(sequences[i]).subspan(shared));
    append(batch, std::span(sequences[first]).first(shared), rests, read_at::end);
    return end;
  }

  std::int32_t padding_;
  std::size_t micro_batch_tokens_;
  causal_lm model_;
  pack weights_;
};

reward_model::reward_model(std::filesystem::path const& folder, device_settings const& device)
    : implementation_(std::make_unique<implementation>(folder, device)) {}
reward_model::reward_model(reward_model&&) noexcept = default;
reward_model& reward_model::operator=(reward_model&&) noexcept = default;
reward_model::~reward_model() = default;

std::vector<double> reward_model::score(std::span<judged const> completions) const { return implementation_->score(completions); }

std::vector<double> reward_model::score_tokens(std::span<std::vector<std::int32_t> const> sequences) const {
  return implementation_->score_tokens({sequences.begin(), sequences.end()});
}

void reward_model::require_same_tokenizer(tokenizer const& other, std::string const& whose) const {
  tokenizer const& own = implementation_->opened_.tokens;
  std::string const path = implementation_->opened_.source.path().string();
  std::string const cure = "; train the reward model from the same base model, with kedge reward";
  if (own.size() != other.size())
    throw error("the reward model " + path + " has another tokenizer than " + whose + ": " + std::to_string(own.size()) + " tokens, not " +
                std::to_string(other.size()) + cure);
  for (std::size_t i = 0; i < own.size(); ++i) {
    auto const id = static_cast<std::int32_t>(i);
    if (std::string const a = own.token_of(id), b = other.token_of(id); a != b)
      throw error("the reward model " + path + " has another tokenizer than " + whose + ": token " + std::to_string(i) + " is " + in_quotes(a) +
                  ", not " + in_quotes(b) + cure);
  }
}

}  // namespace kedge::llm
