// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <kedge/llm/scale/launch.hpp>

namespace kedge::llm {

/// NCCL between the GPUs of a run, one a process.
/// throws  error where kedge was built without KEDGE_CUDA
c10::intrusive_ptr<c10d::Backend> nccl_backend(c10::intrusive_ptr<c10d::Store> const& store, launch const& here,
                                               std::chrono::milliseconds timeout, at::Device device);

}  // namespace kedge::llm
