// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include <kedge/llm/data/ragged.hpp>

namespace kedge::llm {

/// Processes in a ring that share every sequence: each computes some of its tokens, and keys and values go around. All of them call the same
/// members in the same order.
class context_ring {
 public:
  virtual ~context_ring() = default;
  [[nodiscard]] virtual int rank() const = 0;
  [[nodiscard]] virtual int size() const = 0;
  using pending = std::function<void()>;
  /// Begins to send a contiguous tensor to the next process; a tensor without numbers isn't sent. What goes through a channel arrives in order.
  [[nodiscard]] virtual pending begin_send(at::Tensor const& tensor, int channel) = 0;
  /// Begins to receive what the process before sends there into a contiguous tensor of the same size.
  [[nodiscard]] virtual pending begin_receive(at::Tensor const& tensor, int channel) = 0;
  /// Sums over the ring, number by number: the same bits in all processes, exact where all but one have 0.
  virtual void sum(std::vector<double>& numbers) = 0;
};

/// Tokens in a row of one stretch (a prompt or a completion), which one process computes.
struct context_chunk {
  std::size_t stretch;
  std::int64_t position, size;  ///< of the first token in its sequence
  std::int64_t token, place;    ///< where the first one stands in the whole batch, and among those of the process
};

/// A stretch whose keys another one sees: those at positions before `end`.
struct seen_stretch {
  std::size_t stretch;
  std::int64_t end;
};

/// How a ring of processes divides the tokens of a batch. A stretch is cut into 2 N parts of as many tokens as can be; process r takes parts r and
/// 2 N − 1 − r, so that all have as many tokens, and as many pairs of a query and a key before it.
struct context_division {
  context_division(ragged_batch const& batch, int rank, int size);

  int rank;
  std::vector<std::vector<context_chunk>> chunks;  ///< of each process
  std::vector<std::int64_t> tokens;                ///< of each process
  std::vector<std::vector<seen_stretch>> sees;     ///< of each stretch
  [[nodiscard]] std::int64_t most_tokens() const;   ///< of a process
  [[nodiscard]] std::int64_t least_tokens() const;  ///< 0 only where the batch has fewer tokens than there are processes
  [[nodiscard]] std::vector<context_chunk> const& own() const { return chunks[static_cast<std::size_t>(rank)]; }
};

/// A process's part of a batch: tokens, positions and rows are those of its own tokens; of prompts there are none.
struct context_part {
  context_part(ragged_batch const& batch, context_division const& division);

  ragged_batch batch;
  std::vector<std::int64_t> tokens;  ///< where each of its tokens stands in the whole batch
  std::vector<std::int64_t> rows;    ///< and each of its rows among the whole batch's
  std::size_t whole_rows;            ///< of those

  /// The own rows' numbers of those of all; none of none.
  [[nodiscard]] std::vector<double> own(std::span<double const> of_all) const;
  /// The way back, summed over the ring: those of all processes.
  void complete(context_ring& ring, std::vector<double>& of_own) const;
};

}  // namespace kedge::llm
