// SPDX-License-Identifier: Apache-2.0
#include "run_checkpoint.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <numeric>
#include <span>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/formats/safetensors.hpp>

#include "../model/tensor_bytes.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

// Of checkpoints: 7 since processes own parts of buckets; 8 where buckets are those of layers, and packs may be divided too.
constexpr int format = 7, divided_format = 8;

json read_state(fs::path const& folder) {
  std::ifstream file(folder / "state.json");
  if (!file) throw error(folder.string() + ": no state.json; this is not a checkpoint of a run");
  try {
    return json::parse(file);
  } catch (json::exception const& e) {
    throw error((folder / "state.json").string() + ": damaged (" + reason_of(e) + "); use an earlier checkpoint");
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

// Moments of an optimiser are stored in their own short type, everything else as fp32 or fp64.
at::ScalarType kept_as(at::ScalarType type) { return type == at::kDouble || type == at::kBFloat16 || type == at::kByte ? type : at::kFloat; }
dtype stored_type(at::ScalarType type) {
  if (type == at::kBFloat16) return dtype::bf16;
  if (type == at::kByte) return dtype::u8;
  return type == at::kDouble ? dtype::f64 : dtype::f32;
}

bool fits(std::vector<std::int64_t> shape, parameter const& p) {
  if (shape.size() == p.shape.size() && p.growing >= 0) shape[static_cast<std::size_t>(p.growing)] = p.shape[static_cast<std::size_t>(p.growing)];
  return shape == p.shape;
}

// first-moment.safetensors, or first-moment-00002-of-00004.safetensors
std::string file_name(std::string const& name, int rank, int size) {
  if (size == 1) return name + ".safetensors";
  std::array<char, 48> part{};
  std::snprintf(part.data(), part.size(), "-%05d-of-%05d.safetensors", rank + 1, size);
  return name + part.data();
}

// A tensor's bytes as a tensor, which holds for as long as the file is open.
at::Tensor view_of(safetensors_file const& source, fs::path const& file, parameter const& p) {
  auto const found = std::find_if(source.tensors().begin(), source.tensors().end(), [&](auto const& t) { return t.name == p.name; });
  auto const readable = {at::kFloat, at::kDouble, at::kBFloat16, at::kByte};
  auto const type = found == source.tensors().end()
                        ? readable.end()
                        : std::find_if(readable.begin(), readable.end(), [&](at::ScalarType t) { return stored_type(t) == found->type; });
  if (type == readable.end())
    throw error(file.string() + ": tensor " + p.name + " is missing or of another type; the checkpoint belongs to another model");
  // from_blob wants bytes that may be written; nobody does.
  return at::from_blob(const_cast<std::byte*>(found->bytes.data()), found->shape, *type);
}

}  // namespace

checkpoint_writer::checkpoint_writer(fs::path const& folder, std::vector<parameter> const& parameters, process_group const& group,
                                     divided_pack const* division)
    : group_(group), division_(division), parameters_(parameters) {
  path_ = group_.lead([&] {
    folder_.emplace(folder);
    return folder_->path().string();
  });
  state["format"] = division_ && *division_ ? divided_format : format;
  state["processes"] = group_.size();
}

void checkpoint_writer::write(fs::path const& file, pack const& values, shard const& parts) const {
  std::vector<tensor_plan> plan;
  for (std::size_t i = 0; i < values.size(); ++i)
    plan.push_back({parameters_[parts[i].tensor].name, stored_type(values[i].scalar_type()), values[i].sizes().vec()});
  at::Tensor host;
  write_safetensors(file, plan,
                    [&](std::size_t i) {
                      host = values[i].to(at::kCPU, kept_as(values[i].scalar_type())).contiguous();
                      return std::span<std::byte const>(bytes_of(host));
                    },
                    {});
}

void checkpoint_writer::add(std::string const& name, pack const& values) {
  if (division_ && division_->divides_weights()) return add_parts(name, division_->shaped(values), division_->own(values.size()));
  if (group_.leads()) write(path_ / file_name(name, 0, 1), values, whole(values));
}

void checkpoint_writer::add_parts(std::string const& name, pack const& values, shard const& parts) {
  write(path_ / file_name(name, group_.rank(), group_.size()), values, parts);
}

void checkpoint_writer::add(std::string const& name, std::vector<double> const& values) { vectors_.emplace_back(name, values); }

void checkpoint_writer::commit() {
  static_cast<void>(group_.any(false));  // all have written theirs
  group_.lead([this] {
    commit_alone();
    return "";
  });
}

void checkpoint_writer::commit_alone() {
  std::vector<tensor_to_write> tensors;
  for (auto const& [name, values] : vectors_)
    tensors.push_back({name, dtype::f64, {static_cast<std::int64_t>(values.size())}, std::as_bytes(std::span(values))});
  write_safetensors(path_ / "numbers.safetensors", tensors, {});
  write_file_atomically(path_ / "state.json", state.dump(2) + "\n");
  folder_->commit();
}

checkpoint_reader::checkpoint_reader(fs::path folder, std::vector<parameter> const& parameters, divided_pack const* division)
    : state(read_state(folder)), folder_(std::move(folder)), parameters_(parameters), division_(division) {
  if (int const found = state.value("format", 0); found != format && found != divided_format)
    throw error(folder_.string() + ": a checkpoint of another version of kedge (format " + std::to_string(state.value("format", 0)) + ", this one reads " +
                std::to_string(format) + "); go on with the version that wrote it");
}

namespace {

shard whole_of(std::vector<std::int64_t> const& sizes) {
  shard all;
  for (std::size_t i = 0; i < sizes.size(); ++i) all.push_back({i, 0, sizes[i]});
  return all;
}

}  // namespace

at::ScalarType checkpoint_reader::type_of(std::string const& name) const {
  fs::path const whole = folder_ / file_name(name, 0, 1);
  int const processes = fs::exists(whole) ? 1 : state.value("processes", 1);
  for (int rank = 0; rank < processes; ++rank) {
    safetensors_file const source(folder_ / file_name(name, rank, processes));
    if (!source.tensors().empty()) return source.tensors().front().type == dtype::f64 ? at::kDouble : at::kFloat;
  }
  throw error(whole.string() + ": no tensors; use an earlier checkpoint");
}

// Whole tensors, of what processes have written in parts.
pack checkpoint_reader::join_parts(std::string const& name, std::size_t count) const {
  pack theta;
  at::ScalarType const type = type_of(name);
  for (parameter const& p : std::span(parameters_).first(count)) theta.push_back(at::empty(p.shape, type));
  std::vector<std::int64_t> const sizes = sizes_of(parameters_);
  shard wanted = whole_of(sizes);
  wanted.resize(count);
  fill(name, sizes, wanted, theta);
  return theta;
}

pack checkpoint_reader::read_pack(std::string const& name, at::Device device, std::size_t count) const {
  fs::path const file = folder_ / (name + ".safetensors");
  if (division_ && division_->divides_weights()) {
    pack own = division_->zeros(at::TensorOptions(type_of(name)));
    own.resize(count);
    fill(name, sizes_of(parameters_), division_->own(count), division_->shaped(own));
    return division_->weights_for(own, device, own.front().scalar_type());
  }
  if (!fs::exists(file)) {
    pack theta = join_parts(name, count);
    for (at::Tensor& t : theta) t = t.to(device);
    return theta;
  }
  safetensors_file const source(file);
  pack theta;
  for (parameter const& p : std::span(parameters_).first(count)) {
    at::Tensor const t = view_of(source, file, p);
    if (!fits(t.sizes().vec(), p))
      throw error(file.string() + ": tensor " + p.name + " is of another shape; the checkpoint belongs to another model");
    theta.push_back(t.to(device, t.scalar_type(), /*non_blocking=*/false, /*copy=*/true));
  }
  return theta;
}

void checkpoint_reader::read_parts(std::string const& name, pack const& theta, shard const& parts, pack const& into) const {
  std::vector<std::int64_t> sizes;
  for (at::Tensor const& t : theta) sizes.push_back(t.numel());
  fill(name, division_ && division_->divides_weights() ? sizes_of(parameters_) : sizes, parts, into);
}

// Parts of tensors, whoever has written which parts of them.   sizes: of whole tensors
void checkpoint_reader::fill(std::string const& name, std::vector<std::int64_t> const& sizes, shard const& parts, pack const& into) const {
  if (parts.empty()) return;
  at::ScalarType const type = into.front().scalar_type();
  std::vector<std::size_t> at(sizes.size(), parts.size());  // of each tensor's part
  for (std::size_t i = 0; i < parts.size(); ++i) at[parts[i].tensor] = i;
  int const processes = fs::exists(folder_ / file_name(name, 0, 1)) ? 1 : state.value("processes", 1);
  bucket_layout const layout(parameters_, sizes, processes, state.value("format", 0) == divided_format ? buckets_of::layers : buckets_of::size);
  for (int rank = 0; rank < processes; ++rank) {
    fs::path const file = folder_ / file_name(name, rank, processes);
    safetensors_file const source(file);
    for (tensor_part const& stored : layout.share(rank)) {
      if (at[stored.tensor] == parts.size()) continue;
      tensor_part const& wanted = parts[at[stored.tensor]];
      std::int64_t const begin = std::max(stored.begin, wanted.begin), end = std::min(stored.begin + stored.size, wanted.begin + wanted.size);
      if (begin >= end) continue;
      at::Tensor const t = view_of(source, file, parameters_[stored.tensor]);
      if (t.scalar_type() != type || t.numel() != stored.size)
        throw error(file.string() + ": tensor " + parameters_[stored.tensor].name + " is of another shape or type; the checkpoint belongs to another model");
      into[at[stored.tensor]].view({-1}).narrow(0, begin - wanted.begin, end - begin).copy_(t.view({-1}).narrow(0, begin - stored.begin, end - begin));
    }
  }
}

void checkpoint_reader::read_own(std::string const& name, shard const& parts, process_group const& group, pack const& into) const {
  int const processes = state.value("processes", 1);
  if (processes != group.size())
    throw error(folder_.string() + ": the optimizer's state is that of what a process holds, and " + std::to_string(processes) +
                " wrote them; go on with as many");
  fs::path const file = folder_ / file_name(name, group.rank(), group.size());
  safetensors_file const source(file);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    parameter const& p = parameters_[parts[i].tensor];
    at::Tensor const t = view_of(source, file, p);
    if (t.sizes() != into[i].sizes() || t.scalar_type() != into[i].scalar_type())
      throw error(file.string() + ": tensor " + p.name + " is of another shape or type; the checkpoint belongs to another model");
    into[i].copy_(t);
  }
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

void save(checkpoint_writer& to, epoch_solver const& solver, pack const& theta) {
  to.state["solver_seconds"] = solver.seconds;
  if (!solver.inside) return;
  to.state["step"] = solver.inside->step;
  to.state["optimizer_steps"] = solver.inside->optimizer.steps;
  shard const own = solver.owned(to.parameters(), theta);
  for (optimizer_part const& part : solver.inside->optimizer.parts) to.add_parts(std::string(part.name), part.values, own);
  solver.inside->optimizer.leave();
}

void restore(checkpoint_reader const& from, epoch_solver& solver, pack const& theta) {
  solver.seconds = from.state.at("solver_seconds").get<double>();
  if (!from.state.contains("step")) return;
  shard const own = solver.owned(from.parameters(), theta);
  epoch_solver::progress& inside = solver.inside.emplace(solver.start(solver.own_of(from.parameters(), theta)));
  inside.step = from.state["step"].get<std::size_t>();
  inside.optimizer.steps = from.state.at("optimizer_steps").get<std::int64_t>();
  for (optimizer_part const& part : inside.optimizer.parts) {
    if (part.values.empty()) continue;  // a process may own nothing
    if (part.by_elements)
      from.read_parts(std::string(part.name), theta, own, part.values);
    else
      from.read_own(std::string(part.name), own, solver.group(), part.values);
  }
  inside.optimizer.leave();
}

fs::path find_checkpoint(fs::path const& output_dir, resume_point const& which) {
  if (!which.newest) {
    if (!fs::exists(which.folder / "state.json")) throw error(which.folder.string() + ": not a checkpoint; give a folder checkpoints/step-N or 'latest'");
    return which.folder;
  }
  auto const all = checkpoints_of(output_dir);
  if (all.empty()) throw error((output_dir / "checkpoints").string() + ": no checkpoint to resume from; start without --resume_from_checkpoint");
  return all.front().second;
}

void remove_old_checkpoints(fs::path const& output_dir, std::size_t keep, std::optional<std::size_t> best) {
  if (keep == 0) return;
  auto const all = checkpoints_of(output_dir);
  auto const is_best = [&](std::size_t i) { return best && all[i].first == static_cast<long>(*best); };
  std::size_t there = all.size();
  std::error_code ignored;
  for (std::size_t i = all.size(); i-- > 1 && there > keep;)
    if (!is_best(i)) fs::remove_all(all[i].second, ignored), --there;
}

}  // namespace kedge::llm
