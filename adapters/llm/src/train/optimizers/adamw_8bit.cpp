// SPDX-License-Identifier: Apache-2.0
#include "adamw.hpp"

namespace kedge::llm::optimizers {
namespace {

constexpr std::int64_t block = adam_block;

at::Tensor code_of(std::array<line, code_lines> const& lines, at::Tensor const& x) {
  at::Tensor least = at::mul(x, lines[0].a);
  for (std::size_t i = 1; i < code_lines; ++i) least = at::minimum(least, at::mul(x, lines[i].a).add_(lines[i].b));
  return least;
}

at::Tensor number_of(std::array<line, code_lines> const& lines, at::Tensor const& code) {
  at::Tensor largest = at::div(code, lines[0].a);
  for (std::size_t i = 1; i < code_lines; ++i) largest = at::maximum(largest, at::sub(code, lines[i].b).div_(lines[i].a));
  return largest;
}

// Each block's number at each of its elements.
at::Tensor spread(at::Tensor const& scales, at::Tensor const& like) {
  return scales.repeat_interleave(block).narrow(0, 0, like.numel()).view_as(like);
}

at::Tensor largest_of_blocks(at::Tensor const& x) {
  at::Tensor const flat = x.flatten();
  return at::constant_pad_nd(flat, {0, (block - flat.numel() % block) % block}).view({-1, block}).amax(1);
}

at::Tensor over(at::Tensor const& x, at::Tensor const& scale) { return at::where(scale > 0, at::div(x, scale), at::zeros_like(x)); }

void read(kept_moments const& kept, at::Tensor& m, at::Tensor& v) {
  at::Tensor const codes = kept.first.to(at::kInt);
  m = number_of(signed_lines, codes.bitwise_and(0x7f).to(at::kFloat)).mul_(spread(kept.first_scale, kept.first));
  m = at::where(codes >= 0x80, m.neg(), m);
  v = number_of(unsigned_lines, kept.second.to(at::kFloat)).mul_(spread(kept.second_scale, kept.second)).square_();
}

// Second moments are kept as codes of their roots, which halves the decades; they are rounded up or down at random.
void write(kept_moments const& kept, at::Tensor const& m, at::Tensor const& v, std::uint32_t seed) {
  at::Tensor const root = v.sqrt(), size = m.abs();
  kept.first_scale.copy_(largest_of_blocks(size));
  kept.second_scale.copy_(largest_of_blocks(root));
  at::Tensor const size_code = code_of(signed_lines, over(size, spread(kept.first_scale, size))).add_(0.5).floor_().clamp_max_(127);
  kept.first.copy_(size_code.add_(at::signbit(m).to(at::kFloat), 0x80));
  at::Tensor const dither = random_of(v, seed).bitwise_right_shift(8).to(at::kFloat).mul_(0x1p-24);
  at::Tensor const code = code_of(unsigned_lines, over(root, spread(kept.second_scale, root))).add_(dither).floor_().clamp_max_(255);
  kept.second.copy_(at::maximum(code, (root > 0).to(at::kFloat)));  // nothing positive becomes 0, by which a step would be divided
}

constexpr moment_format format{.type = at::kByte, .scaled = true, .one_pass = &adam_kernels::step_bits8, .read = read, .write = write};

constexpr std::string_view aliases[] = {"adamw_bnb_8bit", "adamw_torch_8bit"};

std::int64_t bytes(std::int64_t parameters, std::int64_t) {
  constexpr std::int64_t scale = sizeof(float);
  return 2 * (parameters + adam_blocks(parameters) * scale);
}

}  // namespace

extern optimizer const adamw_8bit;
optimizer const adamw_8bit{.name = "adamw_8bit",
                           .aliases = aliases,
                           .help = "AdamW, moments in 8 bits: 2 bytes a parameter, and a scale for every 256 numbers",
                           .bytes = bytes,
                           .gradient_degree = 0,
                           .init = init_adamw<format>,
                           .update = update_adamw<format>};

extern optimizer const paged_adamw_8bit;
optimizer const paged_adamw_8bit = paged(adamw_8bit, "paged_adamw_8bit", {}, "AdamW, moments in 8 bits in a mapped file: 2 bytes a parameter of disk");

}  // namespace kedge::llm::optimizers
