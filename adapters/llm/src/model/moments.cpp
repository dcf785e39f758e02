// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/model/moments.hpp>

#include <kedge/llm/files/error.hpp>

namespace kedge::llm {

moment_type moments_of(std::string const& optim) {
  if (optim == "adamw_torch_fused" || optim == "adamw_torch") return moment_type::same;
  if (optim == "adamw_bf16") return moment_type::bf16;
  if (optim == "adamw_8bit" || optim == "adamw_bnb_8bit" || optim == "adamw_torch_8bit") return moment_type::bits8;
  throw error("--optim " + optim + " is not known; use adamw_torch_fused, adamw_bf16 or adamw_8bit");
}

std::int64_t moment_bytes(moment_type moments, std::int64_t parameters) {
  if (moments == moment_type::same) return 8 * parameters;
  if (moments == moment_type::bf16) return 4 * parameters;
  constexpr std::int64_t block = moment_block, scale = 4;
  return 2 * (parameters + (parameters + block - 1) / block * scale);
}

}  // namespace kedge::llm
