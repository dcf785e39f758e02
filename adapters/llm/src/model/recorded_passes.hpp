// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include <kedge/llm/data/fixed_size.hpp>
#include <kedge/llm/model/causal_lm.hpp>

#include "batch_inputs.hpp"
#include "cuda_graph.hpp"

namespace kedge::llm {

/// Where the tensors of a pack lie: what a recording reads and writes.
using addresses = std::vector<void const*>;
[[nodiscard]] addresses addresses_of(pack const& tensors);

/// The two passes over batches of one size, recorded when they are first run. What changes from batch to batch lies in memory of its own; losses
/// are computed between the two, on the host.
class recorded_pass {
 public:
  recorded_pass(at::Device device, graph_pool pool, row_figures const& wanted);
  ~recorded_pass();

  /// As causal_lm::forward_pass. The result is overwritten by the next pass of the pool.
  [[nodiscard]] row_tensors const& forward(causal_lm const& model, pack const& weights, batch_inputs const& batch);
  /// As causal_lm::backward_pass, once after each forward. A gradient elsewhere than the first time can't be replayed: both passes are computed.
  void backward(causal_lm const& model, pack const& weights, row_slopes const& slopes, pack& gradient);
  [[nodiscard]] batch_inputs const& batch() const { return batch_; }
  /// Whether it was asked for a gradient elsewhere.
  [[nodiscard]] bool outdated() const { return outdated_; }

 private:
  row_figures wanted_;
  bool outdated_ = false;
  batch_inputs batch_;
  row_slopes slopes_;
  row_tensors out_;
  std::unique_ptr<causal_lm::tape> kept_;
  addresses gradient_;
  device_graph forward_, backward_;
};

/// The recorded passes of a model with one pack of weights, one a size. Not for several threads at once.
class pass_recorder {
 public:
  /// most: sizes that it remembers, those that came last
  explicit pass_recorder(at::Device device, std::size_t most = 64) : device_(device), most_(most) {}

  /// Null: compute these passes. That is so for a size that it doesn't remember, which also makes libraries ready for a recording, and while
  /// another recorded pass waits for its way back.
  /// returns  to be held until there is no way back any more
  [[nodiscard]] std::shared_ptr<recorded_pass> find(pack const& weights, packed_size const& size, row_figures const& wanted);

  std::size_t runs = 0;  ///< of recorded passes so far

 private:
  struct remembered {
    std::shared_ptr<recorded_pass> pass;  // null: seen once
    std::size_t used = 0;                 // by which call it was asked for last
  };

  void forget_oldest();

  at::Device device_;
  std::size_t most_, calls_ = 0;
  graph_pool pool_{};
  addresses weights_;
  std::map<std::pair<packed_size, row_figures>, remembered> passes_;
  std::weak_ptr<recorded_pass> under_way_;
};

}  // namespace kedge::llm
