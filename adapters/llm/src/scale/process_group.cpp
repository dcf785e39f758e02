// SPDX-License-Identifier: Apache-2.0
#include "process_group.hpp"

#include <cstring>
#include <span>
#include <utility>

// LibTorch is built with Gloo; its headers ask the program to say so.
#define USE_C10D_GLOO
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <kedge/llm/base/error.hpp>

#include "../model/gpu_library.hpp"

C10_DECLARE_int(caffe2_log_level);

namespace kedge::llm {
namespace {

using milliseconds = std::chrono::milliseconds;

std::string name_of(launch const& here) { return "process " + std::to_string(here.rank) + " of " + std::to_string(here.size); }

// c10d's and Gloo's reasons, without source places and traces.
std::string reason(std::exception const& problem) {
  auto const* const own = dynamic_cast<c10::Error const*>(&problem);
  std::string text = own ? own->what_without_backtrace() : problem.what();
  if (auto const end = text.find('\n'); end != std::string::npos) text.resize(end);
  if (text.rfind('[', 0) == 0)
    if (auto const end = text.find("] "); end != std::string::npos) text.erase(0, end + 2);
  return text;
}

template <class Work>
auto with_the_others(launch const& here, Work&& work) {
  try {
    return work();
  } catch (error const&) {
    throw;
  } catch (std::exception const& problem) {
    throw error(name_of(here) + ": another process has gone, failed or not answered in time (" + reason(problem) +
                "); the run stops here. Start it again with --resume_from_checkpoint latest");
  }
}

std::shared_ptr<::gloo::transport::Device> network_device(launch const& here) {
  if (!here.interface.empty()) return c10d::ProcessGroupGloo::createDeviceForInterface(here.interface);
  if (here.local_size == here.size) return c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1");
  return c10d::ProcessGroupGloo::createDefaultDevice();
}

c10::intrusive_ptr<c10d::Backend> gloo_backend(c10::intrusive_ptr<c10d::Store> const& store, launch const& here, milliseconds timeout) {
  auto options = c10d::ProcessGroupGloo::Options::create(timeout);
  options->devices.push_back(network_device(here));
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, here.rank, here.size, options);
}

std::int64_t bytes_in(at::Tensor const& tensor) { return static_cast<std::int64_t>(tensor.nbytes()); }

}  // namespace

class process_group::engine {
 public:
  engine(launch const& here, milliseconds timeout, at::Device device) {
    FLAGS_caffe2_log_level = 3;  // what goes wrong is told once, by us
    c10d::TCPStoreOptions options;
    options.port = here.port;
    options.isServer = here.rank == 0 && !here.hosted;
    options.numWorkers = static_cast<std::size_t>(here.size);
    options.waitWorkers = false;
    options.timeout = timeout;
    auto const meeting = c10::make_intrusive<c10d::TCPStore>(here.address, options);
    store = c10::make_intrusive<c10d::PrefixStore>("kedge/" + here.attempt, meeting);
    open(here, timeout, device);
  }
  engine(engine const& all, std::string const& name, launch const& here, at::Device device) : store(c10::make_intrusive<c10d::PrefixStore>(name, all.store)) {
    open(here, all.timeout, device);
  }

  void open(launch const& here, milliseconds wait, at::Device device) {
    timeout = wait;
    backend = device.is_cuda() ? gpu_library().nccl(store, here.rank, here.size, timeout, device) : gloo_backend(store, here, timeout);
  }

  milliseconds timeout{};

  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::Backend> backend;
  group_traffic traffic;
  std::chrono::steady_clock::time_point looked;  // for a wish to stop
  std::vector<partner> partners;
  bool has_turn = false;
  int next_tag = 0;
};

process_group::process_group(launch where, std::chrono::seconds timeout, at::Device device) : launch_(std::move(where)), device_(device) {
  if (alone()) return;
  with_the_others(launch_, [&] { engine_ = std::make_shared<engine>(launch_, timeout, device); });
}

// What the processes wish to do next: the least wish of all, 0 only where all wish for nothing but what they all do.   own: > 0, or 0
std::int64_t process_group::first_wish(std::int64_t own) const {
  at::Tensor const all = at::zeros({size()}, at::kLong);
  all.data_ptr<std::int64_t>()[rank()] = own;
  at::Tensor const there = all.to(device_);
  with_the_others(launch_, [&] {
    std::vector<at::Tensor> tensors{there};
    engine_->backend->allreduce(tensors)->wait();
  });
  at::Tensor const wishes = there.cpu();
  std::int64_t first = 0;
  for (std::int64_t const wish : std::span(wishes.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(size())))
    if (wish > 0 && (first == 0 || wish < first)) first = wish;
  return first;
}

namespace {

// A wish is partner and kind in one number.
constexpr int kind_bits = 62 - process_group::partner_bits;
constexpr std::int64_t wish_of(std::int64_t partner, std::int64_t what) { return ((partner << kind_bits) | what) + 1; }

}  // namespace

void process_group::join(std::int64_t wish) const {
  auto const number = static_cast<std::size_t>((wish - 1) >> kind_bits);
  if (number >= engine_->partners.size() || !engine_->partners[number])
    throw error(name_of(launch_) + ": another process computes with a model that is closed here; this is a fault of kedge");
  engine_->has_turn = true;
  engine_->partners[number]((wish - 1) & ((std::int64_t{1} << kind_bits) - 1));
  engine_->has_turn = false;
}

// Before what all processes do together: takes part in whatever others do until all of them are there.
void process_group::settle() const {
  if (engine_->partners.empty() || engine_->has_turn) return;
  while (std::int64_t const wish = first_wish(0)) join(wish);
}

std::int64_t process_group::add_partner(partner joins) const {
  engine_->partners.push_back(std::move(joins));
  if (engine_->partners.size() >> partner_bits) throw error("a run with more than " + std::to_string(1 << partner_bits) + " divided models; start it in parts");
  return static_cast<std::int64_t>(engine_->partners.size()) - 1;
}

void process_group::remove_partner(std::int64_t number) const { engine_->partners[static_cast<std::size_t>(number)] = nullptr; }

void process_group::begin_turn(std::int64_t partner_number, std::int64_t what) const {
  std::int64_t const own = wish_of(partner_number, what);
  for (std::int64_t wish = first_wish(own); wish != own; wish = first_wish(own)) join(wish);
  engine_->has_turn = true;
}

void process_group::end_turn() const { engine_->has_turn = false; }

// operation: begins work of the backend.
template <class Begin>
process_group::pending process_group::begin(Begin const& operation) const {
  if (alone()) return [] {};
  settle();
  return with_the_others(launch_, [&]() -> pending {
    return [work = operation(*engine_), here = launch_] { with_the_others(here, [&] { work->wait(); }); };
  });
}

process_group::pending process_group::begin_sum(at::Tensor tensor) const {
  return begin([&](engine& with) {
    with.traffic.summed += bytes_in(tensor);
    std::vector<at::Tensor> tensors{tensor};
    return with.backend->allreduce(tensors);
  });
}

at::Tensor process_group::own_part(at::Tensor const& numbers) const {
  std::int64_t const part = numbers.numel() / size();
  return numbers.narrow(0, rank() * part, part);
}

process_group::pending process_group::begin_sum_of_own_part(at::Tensor numbers) const {
  if (!device_.is_cuda()) return begin_sum(std::move(numbers));  // Gloo saves nothing by less (docs/scale-out.md)
  return begin([&](engine& with) {
    with.traffic.summed_by_parts += bytes_in(numbers);
    at::Tensor own = own_part(numbers);
    return with.backend->_reduce_scatter_base(own, numbers);
  });
}

process_group::pending process_group::begin_exchange_of_parts(at::Tensor numbers) const {
  if (!device_.is_cuda() && !alone()) {
    at::Tensor const bytes = numbers.view(at::kByte);
    return begin_gather_on_host(bytes, own_part(bytes));
  }
  return begin([&](engine& with) {
    with.traffic.gathered += bytes_in(numbers);
    at::Tensor bytes = numbers.view(at::kByte), own = own_part(bytes);  // whatever the type: nothing is computed
    return with.backend->_allgather_base(bytes, own);
  });
}

// Gloo's all_gather takes as much memory again and copies everything once more; sent from each to each, as many bytes lie at once where they belong.
process_group::pending process_group::begin_gather_on_host(at::Tensor all, at::Tensor own) const {
  settle();
  return with_the_others(launch_, [&]() -> pending {
    engine_->traffic.gathered += bytes_in(all);
    int const tag = engine_->next_tag++ & 0xffffff;
    std::vector<c10::intrusive_ptr<c10d::Work>> under_way;
    at::Tensor const parts = all.view({size(), -1});
    for (int other = 0; other < size(); ++other) {
      if (other == rank()) continue;
      std::vector<at::Tensor> into{parts.select(0, other)}, from{own};
      under_way.push_back(engine_->backend->recv(into, other, tag));
      under_way.push_back(engine_->backend->send(from, other, tag));
    }
    if (at::Tensor const place = parts.select(0, rank()); place.const_data_ptr() != own.const_data_ptr()) place.copy_(own);
    return [under_way = std::move(under_way), here = launch_, all, own] {
      with_the_others(here, [&] {
        for (auto const& one : under_way) one->wait();
      });
    };
  });
}

process_group::pending process_group::begin_gather(at::Tensor all, at::Tensor own) const {
  if (!device_.is_cuda() && !alone()) return begin_gather_on_host(std::move(all), std::move(own));
  return begin([&](engine& with) {
    with.traffic.gathered += bytes_in(all);
    at::Tensor to = all.view(at::kByte), from = own.view(at::kByte);
    return with.backend->_allgather_base(to, from);
  });
}

process_group::pending process_group::begin_send(at::Tensor tensor, int to, int tag) const {
  return begin([&](engine& with) {
    with.traffic.sent += bytes_in(tensor);
    std::vector<at::Tensor> tensors{tensor};
    return with.backend->send(tensors, to, tag);
  });
}

process_group::pending process_group::begin_receive(at::Tensor tensor, int from, int tag) const {
  return begin([&](engine& with) {
    std::vector<at::Tensor> tensors{tensor};
    return with.backend->recv(tensors, from, tag);
  });
}

process_group process_group::divided(std::string const& name, int rank, int size) const {
  process_group part;
  part.launch_ = launch_;
  part.launch_.local_size = launch_.local_size == launch_.size ? size : 1;
  part.launch_.rank = rank;
  part.launch_.size = size;
  part.device_ = device_;
  if (size > 1) with_the_others(launch_, [&] { part.engine_ = std::make_shared<engine>(*engine_, name, part.launch_, device_); });
  return part;
}

process_group::pending process_group::begin_broadcast(at::Tensor tensor, int root) const {
  return begin([&](engine& with) {
    with.traffic.broadcast += bytes_in(tensor);
    std::vector<at::Tensor> tensors{tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    return with.backend->broadcast(tensors, options);
  });
}

void process_group::ask_to_stop() const {
  if (!alone()) with_the_others(launch_, [&] { engine_->store->add("stop", 1); });
}

bool process_group::asked_to_stop() const {
  using namespace std::chrono_literals;
  if (alone() || std::chrono::steady_clock::now() - engine_->looked < 100ms) return false;
  engine_->looked = std::chrono::steady_clock::now();
  return with_the_others(launch_, [&] { return engine_->store->add("stop", 0) > 0; });
}

group_traffic process_group::traffic() const { return alone() ? group_traffic() : engine_->traffic; }

void process_group::sum(std::vector<double>& numbers) const {
  if (alone() || numbers.empty()) return;
  at::Tensor const all = at::tensor(at::ArrayRef<double>(numbers), at::kDouble).to(device_);
  begin_sum(all)();
  at::Tensor const host = all.cpu();
  std::memcpy(numbers.data(), host.const_data_ptr<double>(), numbers.size() * sizeof(double));
}

bool process_group::any(bool here) const {
  std::vector<double> count{here ? 1.0 : 0.0};
  sum(count);
  return count.front() > 0;
}

std::vector<std::string> process_group::gather(std::string const& text) const {
  auto const mine = static_cast<std::size_t>(rank());
  std::vector<double> sizes(static_cast<std::size_t>(size()));
  sizes[mine] = static_cast<double>(text.size());
  sum(sizes);
  std::vector<std::string> all;
  for (double const bytes : sizes) all.emplace_back(static_cast<std::size_t>(bytes), '\0');
  all[mine] = text;
  for (std::size_t root = 0; root < all.size() && !alone(); ++root) {
    if (all[root].empty()) continue;
    auto const bytes = static_cast<std::int64_t>(all[root].size());
    at::Tensor const letters = at::from_blob(all[root].data(), {bytes}, at::kByte).to(device_);
    begin_broadcast(letters, static_cast<int>(root))();
    if (device_.is_cuda()) at::from_blob(all[root].data(), {bytes}, at::kByte).copy_(letters);
  }
  return all;
}

std::string process_group::lead(std::function<std::string()> const& task) const {
  if (alone()) return task();
  std::string told, problem;
  if (leads()) try {
      told = task();
    } catch (std::exception const& e) {
      problem = e.what();
    }
  bool const failed = any(!problem.empty());
  std::string const from_leader = gather(failed ? problem : told).front();
  if (failed) throw error(from_leader);
  return from_leader;
}

}  // namespace kedge::llm
