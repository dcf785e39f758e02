// SPDX-License-Identifier: Apache-2.0
#include "run_checkpoint.hpp"

#include <charconv>
#include <cstring>
#include <fstream>

#include <kedge/llm/files/atomic.hpp>
#include <kedge/llm/files/error.hpp>
#include <kedge/llm/files/safetensors.hpp>

#include "../model/tensor_bytes.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

void write_pack(fs::path const& file, transformer_config const& config, pack const& theta) {
  std::vector<parameter> const names = parameters_of(config);
  std::vector<tensor_plan> plan;
  for (parameter const& p : names) plan.push_back({p.name, dtype::f32, p.shape});
  at::Tensor host;
  write_safetensors(file, plan,
                    [&](std::size_t i) {
                      host = theta[i].to(at::kCPU, at::kFloat).contiguous();
                      return std::span<std::byte const>(bytes_of(host));
                    },
                    {});
}

pack read_pack(fs::path const& file, transformer_config const& config, at::Device device) {
  safetensors_file const source(file);
  pack theta;
  for (parameter const& p : parameters_of(config)) {
    auto const found = std::find_if(source.tensors().begin(), source.tensors().end(), [&](auto const& t) { return t.name == p.name; });
    if (found == source.tensors().end() || found->shape != p.shape || found->type != dtype::f32)
      throw error(file.string() + ": tensor " + p.name + " is missing or of another shape; the checkpoint belongs to another model");
    at::Tensor t = at::empty(p.shape, at::kFloat);
    std::memcpy(t.data_ptr(), found->bytes.data(), found->bytes.size());
    theta.push_back(t.to(device));
  }
  return theta;
}

using named_vectors = std::vector<std::pair<std::string, std::vector<double>*>>;

void write_vectors(fs::path const& file, named_vectors const& vectors) {
  std::vector<tensor_to_write> tensors;
  for (auto const& [name, values] : vectors)
    tensors.push_back({name, dtype::f64, {static_cast<std::int64_t>(values->size())}, std::as_bytes(std::span(*values))});
  write_safetensors(file, tensors, {});
}

void read_vectors(fs::path const& file, named_vectors const& vectors) {
  safetensors_file const source(file);
  for (auto const& [name, values] : vectors)
    for (auto const& entry : source.tensors())
      if (entry.name == name) {
        values->resize(entry.bytes.size() / sizeof(double));
        if (!values->empty()) std::memcpy(values->data(), entry.bytes.data(), entry.bytes.size());  // null is no operand
      }
}

named_vectors vectors_of(pair_log_probs& reference, pair_log_probs& evaluation) {
  return {{"reference.chosen", &reference.chosen},
          {"reference.rejected", &reference.rejected},
          {"evaluation.chosen", &evaluation.chosen},
          {"evaluation.rejected", &evaluation.rejected}};
}

void require_same_settings(fs::path const& folder, json const& saved, json const& now) {
  for (auto const& [key, value] : now.items())
    if (!saved.contains(key) || saved[key] != value)
      throw error(folder.string() + ": the checkpoint was made with " + key + " = " + (saved.contains(key) ? saved[key].dump() : "nothing") +
                  ", this run has " + value.dump() + "; resume with the same settings");
}

}  // namespace

fs::path save_checkpoint(fs::path const& output_dir, transformer_config const& config, run_checkpoint const& run) {
  training_state const& s = run.state;
  fs::path const final_path = output_dir / "checkpoints" / ("step-" + std::to_string(run.log.at("global_step").get<std::size_t>()));
  if (fs::exists(final_path)) return final_path;
  fs::create_directories(final_path.parent_path());
  pending_directory folder(final_path);
  write_pack(folder.path() / "theta.safetensors", config, s.theta);
  if (s.previous) write_pack(folder.path() / "previous.safetensors", config, *s.previous);
  json anchor = json::array();
  for (std::size_t j = 0; j < s.anchor.size(); ++j) {
    anchor.push_back(s.anchor[j].weight);
    write_pack(folder.path() / ("anchor-" + std::to_string(j) + ".safetensors"), config, s.anchor[j].point);
  }
  json state{{"format", 1},          {"round", s.round}, {"epoch", s.epoch},
             {"in_round", s.in_round}, {"anchor", anchor}, {"has_previous", s.previous.has_value()},
             {"log", run.log},       {"settings", run.settings}, {"result", run.result}};
  pair_log_probs reference = s.cached ? s.cached->at(s.epoch) : pair_log_probs{};
  write_vectors(folder.path() / "references.safetensors", vectors_of(reference, run.evaluation_reference));
  if (run.problem.inside) {
    state["step"] = run.problem.inside->step;
    state["optimizer_steps"] = run.problem.inside->optimizer.steps;
    write_pack(folder.path() / "first-moment.safetensors", config, run.problem.inside->optimizer.first);
    write_pack(folder.path() / "second-moment.safetensors", config, run.problem.inside->optimizer.second);
  }
  write_file_atomically(folder.path() / "state.json", state.dump(2) + "\n");
  folder.commit();
  return final_path;
}

void load_checkpoint(fs::path const& folder, transformer_config const& config, run_checkpoint& run) {
  std::ifstream file(folder / "state.json");
  if (!file) throw error(folder.string() + ": no state.json; this is not a checkpoint of a run");
  json state;
  try {
    state = json::parse(file);
    require_same_settings(folder, state.at("settings"), run.settings);
    training_state& s = run.state;
    at::Device const device = s.theta.front().device();
    s.theta = read_pack(folder / "theta.safetensors", config, device);
    s.round = state.at("round").get<std::size_t>();
    s.epoch = state.at("epoch").get<std::size_t>();
    s.in_round = state.at("in_round").get<bool>();
    if (state.at("has_previous").get<bool>()) s.previous = read_pack(folder / "previous.safetensors", config, device);
    for (std::size_t j = 0; j < state.at("anchor").size(); ++j)
      s.anchor.push_back({state["anchor"][j].get<double>(), read_pack(folder / ("anchor-" + std::to_string(j) + ".safetensors"), config, device)});
    pair_log_probs reference;
    read_vectors(folder / "references.safetensors", vectors_of(reference, run.evaluation_reference));
    if (!reference.chosen.empty()) s.cached.emplace(std::move(reference), s.epoch);
    if (state.contains("step")) {
      auto& inside = run.problem.inside.emplace(preference_problem::progress{adamw(s.theta, run.problem.optimizer_settings()), state["step"].get<std::size_t>()});
      inside.optimizer.steps = state.at("optimizer_steps").get<std::int64_t>();
      inside.optimizer.first = read_pack(folder / "first-moment.safetensors", config, device);
      inside.optimizer.second = read_pack(folder / "second-moment.safetensors", config, device);
    }
    run.log = state.at("log");
    run.result = state.at("result");
  } catch (json::exception const& e) {
    throw error((folder / "state.json").string() + ": damaged (" + e.what() + "); use an earlier checkpoint");
  }
}

fs::path find_checkpoint(fs::path const& output_dir, std::string const& which) {
  if (which != "latest") {
    if (!fs::exists(fs::path(which) / "state.json")) throw error(which + ": not a checkpoint; give a folder checkpoints/step-N or 'latest'");
    return which;
  }
  fs::path best;
  long most = -1;
  std::error_code ignored;
  for (auto const& entry : fs::directory_iterator(output_dir / "checkpoints", ignored)) {
    std::string const name = entry.path().filename().string();
    long step = -1;
    if (name.rfind("step-", 0) == 0) std::from_chars(name.data() + 5, name.data() + name.size(), step);
    if (step > most && fs::exists(entry.path() / "state.json")) {
      most = step;
      best = entry.path();
    }
  }
  if (best.empty()) throw error((output_dir / "checkpoints").string() + ": no checkpoint to resume from; start without --resume_from_checkpoint");
  return best;
}

}  // namespace kedge::llm
