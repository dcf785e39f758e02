// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/scoring.hpp>

#include <map>
#include <ostream>
#include <string>
#include <utility>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "preference_problem.hpp"
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

}  // namespace

std::size_t score_preferences(score_settings const& settings, std::ostream& out) {
  if (settings.batch_size == 0) throw error("--batch_size must be at least 1");
  session const session(settings.model, settings.compute, settings.quiet ? screen() : settings.tells);
  reference_lines lines(settings.ref_logps);
  reading const how{.format = settings.dataset_format, .pairs = settings.ranked_pairs, .most = settings.max_samples, .skip_bad_lines = settings.skip_bad_lines};
  std::vector<preference_pair> const pairs = session.read_pairs(settings.dataset, how, settings.max_length, settings.truncation_mode, lines.reader());
  causal_lm const model(session.config, session.compute);
  pack const weights = model.weights_for(session.load_on_host());
  stop_watch const watch;
  for (std::size_t first = 0; first < pairs.size(); first += settings.batch_size) {
    std::vector<preference_pair> const batch(pairs.begin() + static_cast<std::ptrdiff_t>(first),
                                             pairs.begin() + static_cast<std::ptrdiff_t>(std::min(pairs.size(), first + settings.batch_size)));
    pair_log_probs const logp = score_in_order(model, weights, batch, batch.size(), session.scored_at_once, {}, settings.ld_alpha);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      lines.add(batch[i], logp.chosen[i], logp.rejected[i]);
      out << nlohmann::ordered_json{{"logp_chosen", logp.chosen[i]},
                                    {"logp_rejected", logp.rejected[i]},
                                    {"tokens_chosen", batch[i].chosen.size()},
                                    {"tokens_rejected", batch[i].rejected.size()},
                                    {"tokens_prompt", batch[i].prompt.size()}}
                 .dump()
          << '\n';
    }
    if (!settings.quiet) show_progress(settings.tells, first + batch.size(), pairs.size(), "pairs", watch.seconds());
    if (!out) throw error("the scores can't be written; is the disk full?");
  }
  lines.write();
  return pairs.size();
}

}  // namespace kedge::llm
