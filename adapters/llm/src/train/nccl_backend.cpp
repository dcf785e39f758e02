// SPDX-License-Identifier: Apache-2.0
#include "nccl_backend.hpp"

#include <kedge/llm/base/error.hpp>

#if defined(KEDGE_CUDA)
#define USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

namespace kedge::llm {

#if defined(KEDGE_CUDA)
c10::intrusive_ptr<c10d::Backend> nccl_backend(c10::intrusive_ptr<c10d::Store> const& store, launch const& here,
                                               std::chrono::milliseconds timeout, at::Device device) {
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  auto backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(store, here.rank, here.size, options);
  backend->setBoundDeviceId(device);
  return backend;
}
#else
c10::intrusive_ptr<c10d::Backend> nccl_backend(c10::intrusive_ptr<c10d::Store> const&, launch const&, std::chrono::milliseconds, at::Device) {
  throw error("several processes on GPUs need NCCL, and this kedge was built without it; configure with -DKEDGE_CUDA=ON");
}
#endif

}  // namespace kedge::llm
