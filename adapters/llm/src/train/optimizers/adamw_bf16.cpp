// SPDX-License-Identifier: Apache-2.0
#include "adamw.hpp"

namespace kedge::llm::optimizers {
namespace {

void read(kept_moments const& kept, at::Tensor& m, at::Tensor& v) {
  m = kept.first.to(at::kFloat);
  v = kept.second.to(at::kFloat);
}

// First moments to nearest, second ones up or down at random.
void write(kept_moments const& kept, at::Tensor const& m, at::Tensor const& v, std::uint32_t seed) {
  kept.first.copy_(m);
  at::Tensor const bits = v.view(at::kInt).to(at::kLong).add_(random_of(v, seed).bitwise_and_(0xffff)).bitwise_and_(~std::int64_t{0xffff});
  kept.second.copy_(bits.to(at::kInt).view(at::kFloat));  // exactly
}

constexpr moment_format format{.type = at::kBFloat16, .scaled = false, .one_pass = &adam_kernels::step_bf16, .read = read, .write = write};

}  // namespace

extern optimizer const adamw_bf16;
optimizer const adamw_bf16{.name = "adamw_bf16",
                           .help = "AdamW, moments in bf16: 4 bytes a parameter",
                           .bytes = [](std::int64_t parameters, std::int64_t) { return 4 * parameters; },
                           .gradient_degree = 0,
                           .init = init_adamw<format>,
                           .update = update_adamw<format>};

}  // namespace kedge::llm::optimizers
