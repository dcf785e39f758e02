// SPDX-License-Identifier: Apache-2.0
#include "run_checkpoint.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fstream>
#include <utility>

#include <kedge/llm/files/error.hpp>
#include <kedge/llm/files/safetensors.hpp>

#include "../model/tensor_bytes.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

json read_state(fs::path const& folder) {
  std::ifstream file(folder / "state.json");
  if (!file) throw error(folder.string() + ": no state.json; this is not a checkpoint of a run");
  try {
    return json::parse(file);
  } catch (json::exception const& e) {
    throw error((folder / "state.json").string() + ": damaged (" + e.what() + "); use an earlier checkpoint");
  }
}

// checkpoints/step-N and their N, the newest first.
std::vector<std::pair<long, fs::path>> checkpoints_of(fs::path const& output_dir) {
  std::vector<std::pair<long, fs::path>> all;
  std::error_code ignored;
  for (auto const& entry : fs::directory_iterator(output_dir / "checkpoints", ignored)) {
    std::string const name = entry.path().filename().string();
    long step = -1;
    if (name.rfind("step-", 0) == 0) std::from_chars(name.data() + 5, name.data() + name.size(), step);
    if (step >= 0 && fs::exists(entry.path() / "state.json", ignored)) all.emplace_back(step, entry.path());
  }
  std::sort(all.rbegin(), all.rend());
  return all;
}

// Moments of an optimiser are stored in their own short type, everything else as fp32.
at::ScalarType kept_as(at::ScalarType type) { return type == at::kBFloat16 || type == at::kByte ? type : at::kFloat; }
dtype stored_type(at::ScalarType type) { return type == at::kBFloat16 ? dtype::bf16 : type == at::kByte ? dtype::u8 : dtype::f32; }

bool fits(std::vector<std::int64_t> shape, parameter const& p) {
  if (shape.size() == p.shape.size() && p.growing >= 0) shape[static_cast<std::size_t>(p.growing)] = p.shape[static_cast<std::size_t>(p.growing)];
  return shape == p.shape;
}

}  // namespace

checkpoint_writer::checkpoint_writer(fs::path folder, std::vector<parameter> const& parameters)
    : folder_(std::move(folder)), parameters_(parameters) {
  state["format"] = 2;
}

void checkpoint_writer::add(std::string const& name, pack const& values) {
  std::vector<tensor_plan> plan;
  for (std::size_t i = 0; i < values.size(); ++i) plan.push_back({parameters_[i].name, stored_type(values[i].scalar_type()), values[i].sizes().vec()});
  at::Tensor host;
  write_safetensors(folder_.path() / (name + ".safetensors"), plan,
                    [&](std::size_t i) {
                      host = values[i].to(at::kCPU, kept_as(values[i].scalar_type())).contiguous();
                      return std::span<std::byte const>(bytes_of(host));
                    },
                    {});
}

void checkpoint_writer::add(std::string const& name, std::vector<double> const& values) { vectors_.emplace_back(name, values); }

void checkpoint_writer::commit() {
  std::vector<tensor_to_write> tensors;
  for (auto const& [name, values] : vectors_)
    tensors.push_back({name, dtype::f64, {static_cast<std::int64_t>(values.size())}, std::as_bytes(std::span(values))});
  write_safetensors(folder_.path() / "numbers.safetensors", tensors, {});
  write_file_atomically(folder_.path() / "state.json", state.dump(2) + "\n");
  folder_.commit();
}

checkpoint_reader::checkpoint_reader(fs::path folder, std::vector<parameter> const& parameters)
    : state(read_state(folder)), folder_(std::move(folder)), parameters_(parameters) {}

pack checkpoint_reader::read_pack(std::string const& name, at::Device device, at::ScalarType type) const {
  fs::path const file = folder_ / (name + ".safetensors");
  safetensors_file const source(file);
  pack theta;
  for (parameter const& p : parameters_) {
    auto const found = std::find_if(source.tensors().begin(), source.tensors().end(), [&](auto const& t) { return t.name == p.name; });
    if (found == source.tensors().end() || !fits(found->shape, p) || found->type != stored_type(type))
      throw error(file.string() + ": tensor " + p.name + " is missing or of another shape; the checkpoint belongs to another model");
    at::Tensor t = at::empty(found->shape, kept_as(type));
    std::memcpy(t.data_ptr(), found->bytes.data(), found->bytes.size());
    theta.push_back(t.to(device, type));
  }
  return theta;
}

std::vector<double> checkpoint_reader::read_vector(std::string const& name) const {
  fs::path const file = folder_ / "numbers.safetensors";
  safetensors_file const source(file);
  for (auto const& entry : source.tensors()) {
    if (entry.name != name) continue;
    std::vector<double> values(entry.bytes.size() / sizeof(double));
    if (!values.empty()) std::memcpy(values.data(), entry.bytes.data(), entry.bytes.size());  // null is no operand
    return values;
  }
  throw error(file.string() + ": there is no " + name + "; the checkpoint belongs to another kind of run");
}

void require_same_settings(checkpoint_reader const& checkpoint, json const& now) {
  json const& saved = checkpoint.state.at("settings");
  for (auto const& [key, value] : now.items())
    if (!saved.contains(key) || saved[key] != value)
      throw error(checkpoint.path().string() + ": the checkpoint was made with " + key + " = " + (saved.contains(key) ? saved[key].dump() : "nothing") +
                  ", this run has " + value.dump() + "; resume with the same settings");
}

namespace {

// All numbers of a pack of fp32 in a row, and back.
std::vector<double> joined(pack const& values) {
  std::vector<double> all;
  for (at::Tensor const& t : values) {
    at::Tensor const host = t.to(at::kCPU, at::kDouble).contiguous();
    all.insert(all.end(), host.const_data_ptr<double>(), host.const_data_ptr<double>() + host.numel());
  }
  return all;
}

void split(std::vector<double> const& all, pack& into) {
  std::int64_t first = 0;
  at::Tensor const row = at::tensor(at::ArrayRef<double>(all), at::kDouble);
  for (at::Tensor& t : into) t.copy_(row.narrow(0, std::exchange(first, first + t.numel()), t.numel()).view_as(t));
}

}  // namespace

void save(checkpoint_writer& to, epoch_solver const& solver) {
  to.state["solver_seconds"] = solver.seconds;
  if (!solver.inside) return;
  to.state["step"] = solver.inside->step;
  to.state["optimizer_steps"] = solver.inside->optimizer.steps;
  to.add("first-moment", solver.inside->optimizer.first);
  to.add("second-moment", solver.inside->optimizer.second);
  if (solver.inside->optimizer.first_scale.empty()) return;
  to.add("first-scale", joined(solver.inside->optimizer.first_scale));
  to.add("second-scale", joined(solver.inside->optimizer.second_scale));
}

void restore(checkpoint_reader const& from, epoch_solver& solver, pack const& theta) {
  solver.seconds = from.state.at("solver_seconds").get<double>();
  if (!from.state.contains("step")) return;
  at::Device const device = theta.front().device();
  epoch_solver::progress& inside = solver.inside.emplace(solver.start(theta));
  inside.step = from.state["step"].get<std::size_t>();
  inside.optimizer.steps = from.state.at("optimizer_steps").get<std::int64_t>();
  at::ScalarType const type = inside.optimizer.first.front().scalar_type();
  inside.optimizer.first = from.read_pack("first-moment", device, type);
  inside.optimizer.second = from.read_pack("second-moment", device, type);
  if (inside.optimizer.first_scale.empty()) return;
  split(from.read_vector("first-scale"), inside.optimizer.first_scale);
  split(from.read_vector("second-scale"), inside.optimizer.second_scale);
}

fs::path find_checkpoint(fs::path const& output_dir, std::string const& which) {
  if (which != "latest") {
    if (!fs::exists(fs::path(which) / "state.json")) throw error(which + ": not a checkpoint; give a folder checkpoints/step-N or 'latest'");
    return which;
  }
  auto const all = checkpoints_of(output_dir);
  if (all.empty()) throw error((output_dir / "checkpoints").string() + ": no checkpoint to resume from; start without --resume_from_checkpoint");
  return all.front().second;
}

void remove_old_checkpoints(fs::path const& output_dir, std::size_t keep) {
  if (keep == 0) return;
  auto const all = checkpoints_of(output_dir);
  std::error_code ignored;
  for (std::size_t i = keep; i < all.size(); ++i) fs::remove_all(all[i].second, ignored);
}

}  // namespace kedge::llm
