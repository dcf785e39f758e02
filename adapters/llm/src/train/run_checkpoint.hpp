// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/loop.hpp>

#include <kedge/llm/files/atomic.hpp>
#include <kedge/llm/model/causal_lm.hpp>

#include "epochs.hpp"

namespace kedge::llm {

/// A checkpoint being written: packs and lists of numbers by name, and `state`, which holds all that is small. It appears whole,
/// by commit(), or not at all. Several processes write one checkpoint: each the rows that it owns, the leading one all the rest.
class checkpoint_writer {
 public:
  /// `parameters`: what the tensors of every pack are called
  checkpoint_writer(std::filesystem::path const& folder, std::vector<parameter> const& parameters, process_group const& group);

  void add(std::string const& name, pack const& values);
  /// The rows of a pack that this process owns.
  void add_rows(std::string const& name, pack const& values, shard const& rows);
  void add(std::string const& name, std::vector<double> const& values);
  nlohmann::ordered_json state;
  void commit();

 private:
  void commit_alone();
  void write(std::filesystem::path const& file, pack const& values, shard const& rows) const;

  process_group const& group_;
  std::optional<pending_directory> folder_;  // the leading process's
  std::filesystem::path path_;
  std::vector<parameter> const& parameters_;
  std::vector<std::pair<std::string, std::vector<double>>> vectors_;
};

/// A checkpoint being read.
/// throws  error from every member if it is damaged or belongs to another model
class checkpoint_reader {
 public:
  checkpoint_reader(std::filesystem::path folder, std::vector<parameter> const& parameters);

  [[nodiscard]] pack read_pack(std::string const& name, at::Device device) const;
  /// Some rows of a pack of theta's shapes and of a type, whatever number of processes wrote it.
  [[nodiscard]] pack read_rows(std::string const& name, pack const& theta, shard const& rows, at::ScalarType type) const;
  /// What add_rows of this process wrote, of whatever shapes.
  /// throws  error if another number of processes did
  [[nodiscard]] pack read_own(std::string const& name, pack const& theta, shard const& rows, process_group const& group) const;
  [[nodiscard]] std::vector<double> read_vector(std::string const& name) const;
  [[nodiscard]] std::filesystem::path const& path() const { return folder_; }
  nlohmann::ordered_json state;

 private:
  std::filesystem::path folder_;
  std::vector<parameter> const& parameters_;
};

/// A path as given, or for "latest" the checkpoint of output_dir with the most steps.
[[nodiscard]] std::filesystem::path find_checkpoint(std::filesystem::path const& output_dir, resume_point const& which);

/// Removes the oldest checkpoints of a run beyond `keep` (0: none is removed).
void remove_old_checkpoints(std::filesystem::path const& output_dir, std::size_t keep);

void save(checkpoint_writer& to, epoch_solver const& solver, pack const& theta);
void restore(checkpoint_reader const& from, epoch_solver& solver, pack const& theta);

// Log-probabilities of a run, one list or two.
inline void save_logp(checkpoint_writer& to, std::string const& name, std::vector<double> const& logp) { to.add(name, logp); }
inline void save_logp(checkpoint_writer& to, std::string const& name, pair_log_probs const& logp) {
  to.add(name + ".chosen", logp.chosen);
  to.add(name + ".rejected", logp.rejected);
}
inline void restore_logp(checkpoint_reader const& from, std::string const& name, std::vector<double>& logp) { logp = from.read_vector(name); }
inline void restore_logp(checkpoint_reader const& from, std::string const& name, pair_log_probs& logp) {
  logp = {from.read_vector(name + ".chosen"), from.read_vector(name + ".rejected")};
}

/// The state of kedge::run. `anchors`: false where the run can make its anchor anew from what it was given.
template <class L>
void save(checkpoint_writer& to, kedge::state<pack, L> const& s, bool anchors = true) {
  to.add("theta", s.theta);
  if (s.previous) to.add("previous", *s.previous);
  nlohmann::ordered_json weights = nlohmann::ordered_json::array();
  for (std::size_t j = 0; anchors && j < s.anchor.size(); ++j) {
    weights.push_back(s.anchor[j].weight);
    to.add("anchor-" + std::to_string(j), s.anchor[j].point);
  }
  to.state["round"] = s.round;
  to.state["epoch"] = s.epoch;
  to.state["in_round"] = s.in_round;
  to.state["has_previous"] = s.previous.has_value();
  to.state["has_reference"] = s.cached.has_value();
  to.state["anchor"] = weights;
  if (s.cached) save_logp(to, "reference", s.cached->at(s.epoch));
}

template <class L>
void restore(checkpoint_reader const& from, kedge::state<pack, L>& s) {
  at::Device const device = s.theta.front().device();
  s.theta = from.read_pack("theta", device);
  s.round = from.state.at("round").template get<std::size_t>();
  s.epoch = from.state.at("epoch").template get<std::size_t>();
  s.in_round = from.state.at("in_round").template get<bool>();
  if (from.state.at("has_previous").template get<bool>()) s.previous = from.read_pack("previous", device);
  auto const& weights = from.state.at("anchor");
  if (!weights.empty()) s.anchor.clear();
  for (std::size_t j = 0; j < weights.size(); ++j)
    s.anchor.push_back({weights[j].template get<double>(), from.read_pack("anchor-" + std::to_string(j), device)});
  if (!from.state.at("has_reference").template get<bool>()) return;
  L reference;
  restore_logp(from, "reference", reference);
  s.cached.emplace(std::move(reference), s.epoch);
}

}  // namespace kedge::llm
