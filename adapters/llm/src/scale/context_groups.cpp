// SPDX-License-Identifier: Apache-2.0
#include "context_groups.hpp"

#include <string>
#include <utility>

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

class process_ring : public context_ring {
 public:
  explicit process_ring(process_group group) : group_(std::move(group)) {}

  [[nodiscard]] int rank() const override { return group_.rank(); }
  [[nodiscard]] int size() const override { return group_.size(); }
  [[nodiscard]] pending begin_send(at::Tensor const& tensor, int channel) override {
    if (tensor.numel() == 0) return [] {};
    return [kept = tensor, wait = group_.begin_send(tensor, (rank() + 1) % size(), channel)] { wait(); };
  }
  [[nodiscard]] pending begin_receive(at::Tensor const& tensor, int channel) override {
    if (tensor.numel() == 0) return [] {};
    return [kept = tensor, wait = group_.begin_receive(tensor, (rank() + size() - 1) % size(), channel)] { wait(); };
  }
  void sum(std::vector<double>& numbers) override { group_.sum(numbers); }

 private:
  process_group group_;
};

}  // namespace

context_groups divide_by_context(process_group const& all, int context_size) {
  if (context_size == 1) return {all};
  if (all.size() % context_size != 0)
    throw error("--context_parallel_size " + std::to_string(context_size) + ": " + std::to_string(all.size()) +
                (all.alone() ? " process is" : " processes are") +
                " not a multiple of it; start so many by torchrun --no-python --nproc-per-node");
  int const place = all.rank() % context_size, ring = all.rank() / context_size;
  process_group data = all.divided("data-" + std::to_string(place), ring, all.size() / context_size);
  process_group context = all.divided("context-" + std::to_string(ring), place, context_size);
  return {std::move(data), std::make_shared<process_ring>(std::move(context))};
}

}  // namespace kedge::llm
