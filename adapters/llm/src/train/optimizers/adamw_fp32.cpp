// SPDX-License-Identifier: Apache-2.0
#include "adamw.hpp"

namespace kedge::llm::optimizers {
namespace {

constexpr moment_format format{.type = {},
                               .scaled = false,
                               .one_pass = &adam_kernels::step_fp32,
                               .read =
                                   [](kept_moments const& kept, at::Tensor& m, at::Tensor& v) {
                                     m = kept.first;
                                     v = kept.second;
                                   },
                               .write = [](kept_moments const&, at::Tensor const&, at::Tensor const&, std::uint32_t) {}};

constexpr std::string_view aliases[] = {"adamw_torch"}, aliases_of_paged[] = {"paged_adamw"};

}  // namespace

extern optimizer const adamw_fp32;
optimizer const adamw_fp32{.name = "adamw_torch_fused",
                           .aliases = aliases,
                           .help = "AdamW, moments in fp32: 8 bytes a parameter",
                           .bytes = adamw_state_bytes,
                           .gradient_degree = 0,
                           .init = init_adamw<format>,
                           .update = update_adamw<format>};

extern optimizer const paged_adamw_32bit;
optimizer const paged_adamw_32bit =
    paged(adamw_fp32, "paged_adamw_32bit", aliases_of_paged, "AdamW, moments in fp32 in a mapped file: 8 bytes a parameter of disk");

}  // namespace kedge::llm::optimizers
