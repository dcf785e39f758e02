// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/scoring.hpp>

#include <algorithm>
#include <map>
#include <numeric>
#include <ostream>
#include <span>
#include <string>
#include <utility>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "join_run.hpp"
#include "pair_input.hpp"
#include "session.hpp"
#include "stop_watch.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

// The lines that became pairs, with the reference's keys added.
class reference_lines {
 public:
  explicit reference_lines(std::filesystem::path file) : file_(std::move(file)) {}
  [[nodiscard]] line_reader reader() {
    if (file_.empty()) return {};
    return [this](json_line const& line) { objects_[line.index] = line.object.dump(); };
  }
  void add(preference_pair const& pair, double chosen, double rejected) {
    if (file_.empty()) return;
    json object = json::parse(objects_.at(pair.index));
    object["ref_chosen_logps"] = chosen;
    object["ref_rejected_logps"] = rejected;
    text_ += object.dump() + '\n';
    objects_.erase(pair.index);
  }
  void write() const {
    if (!file_.empty()) write_file_atomically(file_, text_);
  }

 private:
  std::filesystem::path file_;
  std::map<std::size_t, std::string> objects_;  // by their place among those read
  std::string text_;
};

using pairs_in_order = std::span<preference_pair const>;

// Log-probabilities of pairs in batches of so many, which the processes of a group deal out: who computes one changes no bit of it.
pair_log_probs score_batches(causal_lm const& model, pack const& weights, pairs_in_order pairs, score_settings const& settings, std::size_t micro_batch_tokens,
                             process_group const& group) {
  auto const batch = [&](std::size_t i) { return pairs.subspan(i * settings.batch_size, std::min(settings.batch_size, pairs.size() - i * settings.batch_size)); };
  auto const tokens = [&](std::size_t i) {
    std::size_t sum = 0;
    for (preference_pair const& pair : batch(i)) sum += shared_tokens(pair);
    return sum;
  };
  std::vector<std::size_t> all((pairs.size() + settings.batch_size - 1) / settings.batch_size);
  std::iota(all.begin(), all.end(), std::size_t{0});
  pair_log_probs logp{std::vector<double>(pairs.size()), std::vector<double>(pairs.size())};
  for (std::size_t const i : balanced_share(all, group.rank(), group.size(), tokens)) {
    pair_log_probs const own = score_in_order(model, weights, {batch(i).begin(), batch(i).end()}, settings.batch_size, micro_batch_tokens, {}, settings.ld_alpha);
    auto const first = static_cast<std::ptrdiff_t>(i * settings.batch_size);
    std::copy(own.chosen.begin(), own.chosen.end(), logp.chosen.begin() + first);
    std::copy(own.rejected.begin(), own.rejected.end(), logp.rejected.begin() + first);
  }
  group.sum(logp.chosen);
  group.sum(logp.rejected);
  return logp;
}

std::string line_of(preference_pair const& pair, double chosen, double rejected) {
  return json{{"logp_chosen", chosen},
              {"logp_rejected", rejected},
              {"tokens_chosen", pair.chosen.size()},
              {"tokens_rejected", pair.rejected.size()},
              {"tokens_prompt", pair.prompt.size()}}
             .dump() +
         '\n';
}

constexpr std::size_t batches_at_once = 16;  // of each of several processes, between two writes

}  // namespace

std::size_t score_preferences(score_settings const& settings, std::ostream& out) {
  if (settings.batch_size == 0) throw error("--batch_size must be at least 1");
  device_settings compute = settings.compute;
  process_group const group = join(settings.where, compute, settings.ddp_timeout);
  session const session(settings.model, compute, settings.quiet ? screen() : settings.tells);
  reference_lines lines(settings.ref_logps);
  reading const how{.format = settings.dataset_format, .pairs = settings.ranked_pairs, .most = settings.max_samples, .skip_bad_lines = settings.skip_bad_lines};
  std::vector<preference_pair> const pairs = session.read_pairs(settings.dataset, how, settings.max_length, settings.truncation_mode, lines.reader());
  causal_lm const model(session.config, session.compute);
  pack const weights = model.weights_for(session.load_on_host());
  stop_watch const watch;
  std::size_t const at_once = settings.batch_size * (group.alone() ? 1 : batches_at_once * static_cast<std::size_t>(group.size()));
  for (std::size_t first = 0; first < pairs.size(); first += at_once) {
    pairs_in_order const block = pairs_in_order(pairs).subspan(first, std::min(at_once, pairs.size() - first));
    pair_log_probs const logp = score_batches(model, weights, block, settings, session.scored_at_once, group);
    if (!group.leads()) continue;
    for (std::size_t i = 0; i < block.size(); ++i) {
      lines.add(block[i], logp.chosen[i], logp.rejected[i]);
      out << line_of(block[i], logp.chosen[i], logp.rejected[i]);
    }
    if (!settings.quiet) show_progress(settings.tells, first + block.size(), pairs.size(), "pairs", watch.seconds());
    if (!out) throw error("the scores can't be written; is the disk full?");
  }
  if (group.leads()) lines.write();
  return pairs.size();
}

}  // namespace kedge::llm
