// SPDX-License-Identifier: Apache-2.0
#include "host_block.hpp"
#include "table.hpp"

namespace kedge::llm {

gpu_kernel_table const& host_gpu_kernels() { return gpu::table_of<gpu::host_device<1>>; }

}  // namespace kedge::llm
