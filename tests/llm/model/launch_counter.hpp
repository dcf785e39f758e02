// SPDX-License-Identifier: Apache-2.0
#pragma once

// Counts what a GPU would be asked to launch, by watching LibTorch's operations and our marks (launches.hpp) on the host.

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "../adapters/llm/src/model/launches.hpp"

namespace launches {

struct figures {
  std::int64_t launches = 0;
  std::int64_t bytes = 0;  ///< read and written
};

/// What one thread does while this lives, by the innermost section that it is done in.
class counter {
 public:
  counter() {
    running() = this;
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&begin, &end)
                                             .needsInputs(true)
                                             .needsOutputs(true)
                                             .scopes({at::RecordScope::FUNCTION, at::RecordScope::USER_SCOPE}));
  }
  counter(counter const&) = delete;
  counter& operator=(counter const&) = delete;
  ~counter() {
    at::removeCallback(handle_);
    running() = nullptr;
  }

  [[nodiscard]] std::map<std::string, figures> const& by_section() const { return by_section_; }
  [[nodiscard]] std::map<std::string, figures> const& by_name() const { return by_name_; }

 private:
  struct call : at::ObserverContext {
    std::string name;
    std::optional<std::int64_t> marked;  // launches of a mark; 0: a section
    std::int64_t within = 0;             // launches of calls within it
    std::vector<at::Tensor> inputs;
  };

  static counter*& running() {
    static thread_local counter* one = nullptr;
    return one;
  }

  // One launch on a GPU, whatever the host makes of them.
  static bool always_one(std::string const& name) {
    static std::set<std::string> const names{"aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm", "aten::mean", "aten::sum", "aten::cat", "aten::index_select"};
    return names.contains(name);
  }

  static bool writes_its_input(std::string const& name) { return name.ends_with('_'); }
  static bool only_allocates(std::string_view name) { return name.starts_with("aten::empty") || name == "aten::resize_" || name == "aten::set_"; }

  static void add_bytes(at::Tensor const& t, std::int64_t& bytes) {
    if (t.defined()) bytes += t.numel() * static_cast<std::int64_t>(t.element_size());
  }
  template <class Values>
  [[nodiscard]] static std::vector<at::Tensor> tensors(Values const& values) {
    std::vector<at::Tensor> all;
    for (c10::IValue const& value : values)
      if (value.isTensor())
        all.push_back(value.toTensor());
      else if (value.isTensorList())
        for (at::Tensor const& t : value.toTensorVector()) all.push_back(t);
    return all;
  }

  static std::unique_ptr<at::ObserverContext> begin(at::RecordFunction const& f) {
    auto one = std::make_unique<call>();
    one->name = f.name();
    one->inputs = tensors(f.inputs());  // gone at its end
    if (f.scope() == at::RecordScope::USER_SCOPE) {
      auto const inputs = f.inputs();
      one->marked = inputs.empty() || !inputs[0].isInt() ? 0 : inputs[0].toInt();
    }
    running()->open_.push_back(one.get());
    return one;
  }

  static void end(at::RecordFunction const& f, at::ObserverContext* context) { running()->close(f, *static_cast<call*>(context)); }

  void close(at::RecordFunction const& f, call& one) {
    open_.pop_back();
    std::int64_t const own = launches_of(f, one);
    bool const counts_within = !one.marked || *one.marked == 0;
    std::int64_t const all = counts_within && !always_one(one.name) ? (one.within > 0 ? one.within : own) : own;
    if (!open_.empty()) open_.back()->within += all;
    bool const leaf = !counts_within || always_one(one.name) || one.within == 0;
    bool const covered = std::any_of(open_.begin(), open_.end(), [](call const* c) { return (c->marked && *c->marked > 0) || always_one(c->name); });
    if (!leaf || own == 0 || covered) return;
    std::int64_t bytes = 0;
    for (at::Tensor const& t : one.inputs) add_bytes(t, bytes);
    if (!one.marked)
      for (at::Tensor const& t : tensors(f.outputs())) add_bytes(t, bytes);
    std::string section = "else";
    for (call const* const c : open_)
      if (c->marked) section = c->name;
    for (figures* const to : {&by_section_[section], &by_name_[one.name]}) {
      to->launches += own;
      to->bytes += bytes;
    }
  }

  [[nodiscard]] std::int64_t launches_of(at::RecordFunction const& f, call const& one) const {
    if (one.marked) return *one.marked;
    if (only_allocates(one.name)) return 0;
    std::vector<at::Tensor> const outputs = tensors(f.outputs());
    if (outputs.empty()) return 0;
    if (writes_its_input(one.name)) return 1;
    // What gives memory that it was given is a view.
    bool const view = std::any_of(one.inputs.begin(), one.inputs.end(), [&](at::Tensor const& t) {
      return t.defined() && outputs.front().defined() && t.has_storage() && t.storage().data() == outputs.front().storage().data();
    });
    return view ? 0 : 1;
  }

  std::vector<call*> open_;
  std::map<std::string, figures> by_section_, by_name_;
  at::CallbackHandle handle_{};
};

inline figures total(std::map<std::string, figures> const& parts) {
  figures sum;
  for (auto const& [name, part] : parts) {
    sum.launches += part.launches;
    sum.bytes += part.bytes;
  }
  return sum;
}

}  // namespace launches
