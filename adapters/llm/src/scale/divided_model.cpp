// SPDX-License-Identifier: Apache-2.0
#include "divided_model.hpp"

#include <algorithm>
#include <deque>
#include <functional>
#include <numeric>
#include <utility>

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

std::int64_t elements(parameter const& p) { return std::accumulate(p.shape.begin(), p.shape.end(), std::int64_t{1}, std::multiplies<>()); }

// What a wish of this partner says: a kind, a tensor where one alone is wanted, and the pack.
constexpr int tensor_bits = 20, kinds_bits = 2;
constexpr std::int64_t code(std::int64_t kind, std::int64_t tensor, std::int64_t number) {
  if (number < 0) throw error("a divided model reads weights that it hasn't made; this is a fault of kedge");
  return (((number << tensor_bits) | tensor) << kinds_bits) | kind;
}

}  // namespace

divided_model::divided_model(process_group const& group, std::vector<parameter> names, std::int64_t layers, bool head_is_embedding, llm::division what)
    : group_(group), names_(std::move(names)), layers_(layers), head_is_embedding_(head_is_embedding), what_(what),
      layout_(names_, sizes_of(names_), group.size(), buckets_of::layers), own_(layout_.share(group.rank())), place_(names_.size()) {
  for (std::size_t i = 0; i < names_.size(); ++i) parts_.push_back({i, 0, 0});
  for (tensor_part const& p : own_) parts_[p.tensor] = p;
  std::int64_t begin = 0;
  for (std::size_t b = 0; b < layout_.buckets().size(); ++b) {
    bucket const& one = layout_.buckets()[b];
    std::int64_t const part = one.size / group_.size(), first = group_.rank() * part;
    bucket_place_.push_back(begin);
    unit_[one.layer == at_the_end ? before_layers : std::min(one.layer, layers_)] = b;
    for (tensor_part const& p : one.places) {
      place_[p.tensor] = begin + std::clamp<std::int64_t>(p.begin - first, 0, part);
    }
    begin += part;
  }
  bucket_place_.push_back(begin);
  partner_ = group_.add_partner([this](std::int64_t wanted) { join(wanted); });
}

divided_model::~divided_model() { group_.remove_partner(partner_); }

pack divided_model::shaped(pack const& own) const {
  pack views;
  for (tensor_part const& p : own_) {
    if (p.tensor >= own.size()) continue;
    std::vector<std::int64_t> const& shape = names_[p.tensor].shape;
    if (p.size == elements(names_[p.tensor]))
      views.push_back(own[p.tensor].view(shape));
    else
      views.push_back(shape.size() > 1 ? own[p.tensor].unsqueeze(0) : own[p.tensor]);
  }
  return views;
}

pack divided_model::zeros(at::TensorOptions const& options) const {
  at::Tensor const memory = at::zeros({bucket_place_.back()}, options);
  pack own;
  for (std::size_t i = 0; i < parts_.size(); ++i) own.push_back(memory.narrow(0, parts_[i].size > 0 ? place_[i] : 0, parts_[i].size));
  return own;
}

at::Tensor divided_model::memory_of(pack const& own) const { return own.front().as_strided({bucket_place_.back()}, {1}, 0); }

pack divided_model::cut(pack const& whole) const {
  pack own = zeros(whole.front().options());
  for (tensor_part const& p : own_) own[p.tensor].copy_(whole[p.tensor].contiguous().view({-1}).narrow(0, p.begin, p.size));
  return own;
}

bool divided_model::lies_flat(pack const& own, at::Device device, at::ScalarType type) const {
  if (static_cast<std::int64_t>(own.front().storage().nbytes()) != bucket_place_.back() * static_cast<std::int64_t>(at::elementSize(type))) return false;
  for (std::size_t i = 0; i < own.size(); ++i) {
    at::Tensor const& t = own[i];
    if (t.scalar_type() != type || t.device() != device || !t.is_alias_of(own.front())) return false;
    if (t.dim() != 1 || t.size(0) != parts_[i].size || (t.size(0) > 0 && t.storage_offset() != place_[i])) return false;
  }
  return true;
}

pack divided_model::weights_for(pack const& theta, at::Device device, at::ScalarType type) const {
  pack own = theta;
  if (!lies_flat(theta, device, type)) {
    own = zeros(at::TensorOptions().device(device).dtype(type));
    own.resize(theta.size());
    for (std::size_t i = 0; i < own.size(); ++i) own[i].copy_(theta[i]);
  }
  if (number_of(own) < 0) known_.emplace_back(own.front().getIntrusivePtr());
  return own;
}

std::int64_t divided_model::number_of(pack const& weights) const {
  for (std::size_t i = known_.size(); i-- > 0;)
    if (auto const there = known_[i].lock(); there && there.get() == weights.front().unsafeGetTensorImpl()) return static_cast<std::int64_t>(i);
  return -1;
}

at::Tensor divided_model::own_part(at::Tensor const& memory, std::size_t bucket) const {
  return memory.narrow(0, bucket_place_[bucket], bucket_place_[bucket + 1] - bucket_place_[bucket]);
}

at::Tensor divided_model::take_memory(std::size_t bucket, at::TensorOptions const& options) const {
  std::int64_t const size = layout_.buckets()[bucket].size;
  auto const found = std::find_if(idle_memory_.begin(), idle_memory_.end(), [&](at::Tensor const& t) {
    return t.numel() == size && t.dtype() == options.dtype() && t.device() == options.device();
  });
  if (found == idle_memory_.end()) return at::empty({size}, options);
  at::Tensor memory = std::move(*found);
  idle_memory_.erase(found);
  return memory;
}

void divided_model::give_back(at::Tensor memory) const {
  if (memory.is_cpu()) idle_memory_.push_back(std::move(memory));  // a GPU's allocator does the same by itself
}

void divided_model::put(std::size_t bucket, at::Tensor const& memory, pack& into) const {
  for (tensor_part const& p : layout_.buckets()[bucket].places) into[p.tensor] = memory.narrow(0, p.begin, p.size).view(names_[p.tensor].shape);
}

void divided_model::drop(std::size_t bucket, pack& from) const {
  for (tensor_part const& p : layout_.buckets()[bucket].places) from[p.tensor] = at::Tensor();
}

/// One pass of a process, of which an idle one makes all but the computation.
class divided_model::pass final : public unit_pass {
 public:
  /// gradient: own parts; null in a forward pass
  pass(divided_model const& of, kind which, at::Tensor own, pack const* undivided, pack const* gradient)
      : of_(of), backward_(which == backwards), own_(std::move(own)), undivided_(undivided), weights_(of.names_.size()), gradient_(of.names_.size()),
        gathered_(of.layout_.buckets().size()), sums_(of.layout_.buckets().size()) {
    if (gradient) collected_ = of.memory_of(*gradient);
  }
  ~pass() override {
    if (!finished_) of_.group_.end_turn();
  }
  pass(pass const&) = delete;
  pass& operator=(pass const&) = delete;

  void enter(std::int64_t unit) override {
    leave();
    unit_ = unit;
    std::vector<std::size_t> const reads = read_at(unit);
    begin(reads);
    if (std::int64_t const next = backward_ ? unit - 1 : unit + 1; next >= before_layers && next <= of_.layers_) begin(read_at(next));
    for (std::size_t const b : reads) await(b);
    for (std::size_t const b : written_at(unit)) open(b);
    entered_ = true;
  }

  void finish() override {
    leave();
    for (std::size_t b = 0; b < gathered_.size(); ++b) forget(b);
    while (!sums_under_way_.empty()) collect();
    finished_ = true;
    of_.group_.end_turn();
  }

  [[nodiscard]] pack const& weights() const override { return undivided_ ? *undivided_ : weights_; }
  [[nodiscard]] pack& gradient() override { return gradient_; }

 private:
  struct gathering {
    at::Tensor memory;
    process_group::pending wait;
  };

  [[nodiscard]] std::vector<std::size_t> buckets_at(std::int64_t unit) const {
    std::vector<std::size_t> all;
    auto const add = [&](std::int64_t of) {
      if (auto const found = of_.unit_.find(of); found != of_.unit_.end()) all.push_back(found->second);
    };
    add(unit);
    if (unit == of_.layers_ && of_.head_is_embedding_) add(before_layers);
    return all;
  }
  // The backward pass of an embedding reads no weight.
  [[nodiscard]] std::vector<std::size_t> read_at(std::int64_t unit) const {
    return undivided_ || (backward_ && unit == before_layers) ? std::vector<std::size_t>() : buckets_at(unit);
  }
  [[nodiscard]] std::vector<std::size_t> written_at(std::int64_t unit) const { return backward_ ? buckets_at(unit) : std::vector<std::size_t>(); }

  void begin(std::vector<std::size_t> const& buckets) {
    for (std::size_t const b : buckets) {
      if (gathered_[b].memory.defined()) continue;
      gathered_[b].memory = of_.take_memory(b, own_.options());
      gathered_[b].wait = of_.group_.begin_gather(gathered_[b].memory, of_.own_part(own_, b));
    }
  }
  void await(std::size_t b) {
    if (!gathered_[b].wait) return;
    gathered_[b].wait();
    gathered_[b].wait = nullptr;
    of_.put(b, gathered_[b].memory, weights_);
  }
  void forget(std::size_t b) {
    if (!gathered_[b].memory.defined()) return;
    if (gathered_[b].wait) gathered_[b].wait();
    of_.drop(b, weights_);
    of_.give_back(std::move(gathered_[b].memory));
    gathered_[b] = {};
  }
  void open(std::size_t b) {
    if (sums_[b].defined()) return;
    sums_[b] = of_.take_memory(b, collected_.options()).zero_();
    of_.put(b, sums_[b], gradient_);
  }

  void leave() {
    if (!entered_) return;
    entered_ = false;
    bool const embedding_stays = of_.head_is_embedding_ && unit_ == before_layers && !backward_;
    if (!embedding_stays)
      for (std::size_t const b : read_at(unit_)) forget(b);
    for (std::size_t const b : written_at(unit_))
      if (unit_ == before_layers || b != embedding()) begin_sum(b);
  }
  [[nodiscard]] std::size_t embedding() const { return of_.unit_.at(before_layers); }

  // One sum travels while another is made.
  void begin_sum(std::size_t b) {
    if (!sums_under_way_.empty()) collect();
    of_.drop(b, gradient_);
    sums_under_way_.emplace_back(b, of_.group_.begin_sum_of_own_part(sums_[b]));
  }
  void collect() {
    auto const [b, wait] = std::move(sums_under_way_.front());
    sums_under_way_.pop_front();
    wait();
    of_.own_part(collected_, b).add_(of_.group_.own_part(sums_[b]));
    of_.give_back(std::move(sums_[b]));
    sums_[b] = at::Tensor();
  }

  divided_model const& of_;
  bool backward_, entered_ = false, finished_ = false;
  std::int64_t unit_ = 0;
  at::Tensor own_, collected_;
  pack const* undivided_;
  pack weights_, gradient_;
  std::vector<gathering> gathered_;  // by bucket
  std::vector<at::Tensor> sums_;
  std::deque<std::pair<std::size_t, process_group::pending>> sums_under_way_;
};

std::unique_ptr<unit_pass> divided_model::forward(pack const& weights) const {
  if (!divides_weights()) return nullptr;
  group_.begin_turn(partner_, code(forwards, 0, number_of(weights)));
  return std::make_unique<pass>(*this, forwards, memory_of(weights), nullptr, nullptr);
}

std::unique_ptr<unit_pass> divided_model::backward(pack const& weights, pack& gradient) const {
  if (collects_.empty() || !collects_.front().is_same(gradient.front())) throw error("a divided model adds to one gradient at a time; this is a fault of kedge");
  group_.begin_turn(partner_, code(backwards, 0, divides_weights() ? number_of(weights) : 0));
  if (!divides_weights()) return std::make_unique<pass>(*this, backwards, at::Tensor(), &weights, &gradient);
  return std::make_unique<pass>(*this, backwards, memory_of(weights), nullptr, &gradient);
}

at::Tensor divided_model::gather(at::Tensor const& memory, std::size_t bucket) const {
  at::Tensor const all = at::empty({layout_.buckets()[bucket].size}, memory.options());
  group_.begin_gather(all, own_part(memory, bucket))();
  return all;
}

pack divided_model::whole(pack const& weights) const {
  group_.begin_turn(partner_, code(everything, 0, number_of(weights)));
  pack all(names_.size());
  for (std::size_t b = 0; b < layout_.buckets().size(); ++b) put(b, gather(memory_of(weights), b), all);
  group_.end_turn();
  return all;
}

at::Tensor divided_model::whole(pack const& weights, std::size_t tensor) const {
  group_.begin_turn(partner_, code(one_tensor, static_cast<std::int64_t>(tensor), number_of(weights)));
  at::Tensor const all = join_tensor(memory_of(weights), tensor);
  group_.end_turn();
  return all;
}

// Bytes of all processes, of which one at most has a number that isn't 0, are summed: exact in every type.
at::Tensor divided_model::join_tensor(at::Tensor const& memory, std::size_t tensor) const {
  at::Tensor const all = at::zeros({elements(names_[tensor])}, memory.options());
  tensor_part const& own = parts_[tensor];
  if (own.size > 0) all.narrow(0, own.begin, own.size).copy_(memory.narrow(0, place_[tensor], own.size));
  group_.begin_sum(all.view(at::kByte))();
  return all.view(names_[tensor].shape);
}

// What another process does with a pack, without a use for it.
void divided_model::join(std::int64_t what) const {
  at::NoGradGuard const no_grad;
  std::int64_t const kind_of = what & ((1 << kinds_bits) - 1), tensor = (what >> kinds_bits) & ((1 << tensor_bits) - 1);
  std::int64_t const number = what >> (kinds_bits + tensor_bits);
  at::Tensor memory;
  if (divides_weights()) {
    auto const first = static_cast<std::size_t>(number) < known_.size() ? known_[static_cast<std::size_t>(number)].lock() : decltype(known_.front().lock())();
    if (!first) throw error("another process computes with weights that are gone here; this is a fault of kedge");
    memory = memory_of({at::Tensor(first)});
  }
  if (kind_of == one_tensor) return static_cast<void>(join_tensor(memory, static_cast<std::size_t>(tensor)));
  if (kind_of == everything) {
    for (std::size_t b = 0; b < layout_.buckets().size(); ++b) static_cast<void>(gather(memory, b));
    return;
  }
  pack const none;
  pass idle(*this, static_cast<kind>(kind_of), memory, divides_weights() ? nullptr : &none, kind_of == backwards ? &collects_ : nullptr);
  if (kind_of == forwards)
    for (std::int64_t u = before_layers; u <= layers_; ++u) idle.enter(u);
  else
    for (std::int64_t u = layers_; u >= before_layers; --u) idle.enter(u);
  idle.finish();
}

void divide(causal_lm& model, process_group const& group, division what) {
  if (what == division::none || group.alone()) return;
  transformer_config const& c = model.config();
  model.divide(std::make_shared<divided_model>(group, model.parameters(), c.layers, c.lm_head && c.tied_embeddings, what));
}

}  // namespace kedge::llm
