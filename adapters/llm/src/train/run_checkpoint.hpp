// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/loop.hpp>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/model/causal_lm.hpp>

#include "epochs.hpp"

namespace kedge::llm {

/// A checkpoint being written: packs and lists of numbers by name, and `state`, which holds all that is small. It appears whole,
/// by commit(), or not at all. Several processes write one checkpoint: each what it owns, the leading one all the rest.
class checkpoint_writer {
 public:
  /// `parameters`: what the tensors of every pack are called; `division`: of the model whose packs they are; null: it isn't divided
  checkpoint_writer(std::filesystem::path const& folder, std::vector<parameter> const& parameters, process_group const& group,
                    divided_pack const* division = nullptr);

  void add(std::string const& name, pack const& values);
  /// What this process owns of a pack.
  void add_parts(std::string const& name, pack const& values, shard const& parts);
  void add(std::string const& name, std::vector<double> const& values);
  nlohmann::ordered_json state;
  void commit();
  [[nodiscard]] std::vector<parameter> const& parameters() const { return parameters_; }

 private:
  void commit_alone();
  void write(std::filesystem::path const& file, pack const& values, shard const& parts) const;

  process_group const& group_;
  divided_pack const* division_;
  std::optional<pending_directory> folder_;  // the leading process's
  std::filesystem::path path_;
  std::vector<parameter> const& parameters_;
  std::vector<std::pair<std::string, std::vector<double>>> vectors_;
};

/// A checkpoint being read.
/// throws  error from every member if it is damaged or belongs to another model
class checkpoint_reader {
 public:
  /// division: as the writer's, of the run that reads: packs are its own parts then
  checkpoint_reader(std::filesystem::path folder, std::vector<parameter> const& parameters, divided_pack const* division = nullptr);

  [[nodiscard]] pack read_pack(std::string const& name, at::Device device) const { return read_pack(name, device, parameters_.size()); }
  /// The same of the first `count` parameters alone.
  [[nodiscard]] pack read_pack(std::string const& name, at::Device device, std::size_t count) const;
  /// Reads parts of a pack of theta's shapes, whatever number of processes wrote it, into tensors of its type.
  void read_parts(std::string const& name, pack const& theta, shard const& parts, pack const& into) const;
  /// Reads what add_parts of this process wrote into tensors of the same shapes and types.
  /// throws  error if another number of processes did
  void read_own(std::string const& name, shard const& parts, process_group const& group, pack const& into) const;
  [[nodiscard]] std::vector<double> read_vector(std::string const& name) const;
  [[nodiscard]] std::filesystem::path const& path() const { return folder_; }
  [[nodiscard]] std::vector<parameter> const& parameters() const { return parameters_; }
  nlohmann::ordered_json state;

 private:
  void fill(std::string const& name, std::vector<std::int64_t> const& sizes, shard const& parts, pack const& into) const;
  [[nodiscard]] at::ScalarType type_of(std::string const& name) const;
  [[nodiscard]] pack join_parts(std::string const& name, std::size_t count) const;

  std::filesystem::path folder_;
  std::vector<parameter> const& parameters_;
  divided_pack const* division_;
};

/// A path as given, or for "latest" the checkpoint of output_dir with the most steps.
[[nodiscard]] std::filesystem::path find_checkpoint(std::filesystem::path const& output_dir, resume_point const& which);

/// Removes the oldest checkpoints of a run beyond `keep` (0: none is removed), but for the newest and the best, which is of this step.
void remove_old_checkpoints(std::filesystem::path const& output_dir, std::size_t keep, std::optional<std::size_t> best = {});

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

/// Saves a value that lists its parts, each under `name` and its own: points as packs, log-probabilities as numbers, counters in state.json.
template <class T>
void save_part(checkpoint_writer& to, std::string const& name, T const& x) {
  if constexpr (std::is_arithmetic_v<T>) {
    to.state[name] = x;
  } else if constexpr (std::is_same_v<T, pack>) {
    to.add(name, x);
  } else if constexpr (tensor<T>) {
    save_logp(to, name, x);
  } else if constexpr (listed<T>) {
    for_each_part(x, [&](char const* member, auto const& part) { save_part(to, name + "." + member, part); });
  } else if constexpr (kedge::detail::is_optional<T>) {
    to.state[name + ".size"] = x ? 1 : 0;
    if (x) save_part(to, name, *x);
  } else {
    to.state[name + ".size"] = x.size();
    for (std::size_t i = 0; i < x.size(); ++i) save_part(to, name + "." + std::to_string(i), x[i]);
  }
}

/// Reads what save_part wrote.
template <class T>
void restore_part(checkpoint_reader const& from, std::string const& name, T& x, at::Device device) {
  if constexpr (std::is_arithmetic_v<T>) {
    x = from.state.at(name).template get<T>();
  } else if constexpr (std::is_same_v<T, pack>) {
    x = from.read_pack(name, device);
  } else if constexpr (tensor<T>) {
    restore_logp(from, name, x);
  } else if constexpr (listed<T>) {
    for_each_part(x, [&](char const* member, auto& part) { restore_part(from, name + "." + member, part, device); });
  } else if constexpr (kedge::detail::is_optional<T>) {
    x.reset();
    if (from.state.at(name + ".size").template get<int>() != 0) restore_part(from, name, x.emplace(), device);
  } else {
    x.resize(from.state.at(name + ".size").template get<std::size_t>());
    for (std::size_t i = 0; i < x.size(); ++i) restore_part(from, name + "." + std::to_string(i), x[i], device);
  }
}

/// Whether a part of a state is this member of it.
template <class Part, class Member>
[[nodiscard]] bool is(Part const& part, Member const& member) {
  return static_cast<void const*>(&part) == static_cast<void const*>(&member);
}

/// The state of kedge::run, part by part. `anchors`: false where the run can make its anchor anew from what it was given.
template <class L, class Schedule>
void save(checkpoint_writer& to, kedge::state<pack, L, Schedule> const& s, bool anchors = true) {
  to.state["anchors"] = anchors;
  for_each_part(s, [&](std::string const& name, auto const& part) {
    if (anchors || !is(part, s.anchor)) save_part(to, name, part);
  });
}

template <class L, class Schedule>
void restore(checkpoint_reader const& from, kedge::state<pack, L, Schedule>& s) {
  at::Device const device = s.theta.front().device();
  bool const anchors = from.state.at("anchors").template get<bool>();
  for_each_part(s, [&](std::string const& name, auto& part) {
    if (anchors || !is(part, s.anchor)) restore_part(from, name, part, device);
  });
}

}  // namespace kedge::llm
