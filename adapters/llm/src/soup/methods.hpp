// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tensor_job.hpp"

namespace kedge::llm {

/// What a method does with a base.
enum class base_rule { ignored, optional, required };

/// A method: what it asks of its inputs, and how it merges a tensor. Its parameters are in soup_parameter_table.
struct method_entry {
  soup_method method;
  base_rule base;
  std::size_t least, most;  ///< models besides the base
  std::string_view asks;    ///< the same in words
  void (*merge)(tensor_job& job, thread_pool& workers, tensor_sink const& sink);
};

/// The one table of methods.
[[nodiscard]] method_entry const& method_of(soup_method method);

// What the table names; each in a file of its own, or with those that share its loop.

void merge_by_coefficients(tensor_job& job, thread_pool& workers, tensor_sink const& sink);
void merge_task_vectors(tensor_job& job, thread_pool& workers, tensor_sink const& sink);
void merge_sce(tensor_job& job, thread_pool& workers, tensor_sink const& sink);
void merge_ram(tensor_job& job, thread_pool& workers, tensor_sink const& sink);
void merge_nearswap(tensor_job& job, thread_pool& workers, tensor_sink const& sink);
void merge_arcee_fusion(tensor_job& job, thread_pool& workers, tensor_sink const& sink);

}  // namespace kedge::llm
