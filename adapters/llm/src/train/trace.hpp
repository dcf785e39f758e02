// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include <kedge/adapters/torch.hpp>

namespace kedge::llm {

/// Records every tensor operation from its making to write(), by LibTorch's own profiler. One at a time.
class operation_trace {
 public:
  /// throws  error if the file can't be written
  operation_trace(std::filesystem::path file, at::Device device);
  operation_trace(operation_trace const&) = delete;
  operation_trace& operator=(operation_trace const&) = delete;
  ~operation_trace();

  /// Ends the recording and writes it, as chrome://tracing and Perfetto read it.
  void write();

 private:
  std::filesystem::path file_;
  bool recording_ = false;
};

}  // namespace kedge::llm
