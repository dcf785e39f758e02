// SPDX-License-Identifier: Apache-2.0
#include "quantised_matrix.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "../base/thread_pool.hpp"
#include "../formats/bnb.hpp"
#include "../kernels/kernels.hpp"
#include "../kernels/stored_rows.hpp"
#include "host_ops.hpp"
#include "ops.hpp"
#include "profile.hpp"

namespace kedge::llm {
namespace {

std::size_t as_size(std::int64_t n) { return static_cast<std::size_t>(n); }

std::size_t row_grain(std::size_t in) { return std::max<std::size_t>(1, 65536 / std::max<std::size_t>(1, in)); }

matrix_view view_of(at::Tensor const& x) { return {x.const_data_ptr(), as_size(x.stride(0)), as_size(x.stride(1)), x.scalar_type() == at::kBFloat16}; }

}  // namespace

quantised_matrix::quantised_matrix(stored_blocks const& blocks, std::int64_t out, std::int64_t in, at::ScalarType type)
    : out_(out), bytes_(static_cast<std::int64_t>(blocks.bytes.size())), type_(type), owner_(blocks.file) {
  rows_ = rows_of_blocks(blocks.type, blocks.bytes, as_size(in), blocks.paired_heads > 0 ? as_size(out / blocks.paired_heads) : 0);
}

quantised_matrix::quantised_matrix(at::Tensor const& weight, base_settings const& how, at::ScalarType type) : out_(weight.size(0)), type_(type) {
  std::span<float const> const x(weight.const_data_ptr<float>(), as_size(weight.numel()));
  std::size_t const in = as_size(weight.size(1));
  if (how.load_in_8bit) {
    auto kept = std::make_shared<bnb::eight_bits const>(bnb::quantise_8bit(x, in));
    rows_ = rows_of(*kept, in);
    bytes_ = static_cast<std::int64_t>(kept->codes.size() + 4 * kept->scales.size());
    owner_ = std::move(kept);
    return;
  }
  auto kept = std::make_shared<bnb::four_bits const>(bnb::quantise_4bit(x, how.quant_type, how.double_quant));
  rows_ = rows_of(*kept, how.quant_type, in);
  bytes_ = static_cast<std::int64_t>(kept->codes.size() + 4 * kept->scales.size() + kept->scale_codes.size() + 4 * kept->scale_scales.size());
  owner_ = std::move(kept);
}

at::ScalarType quantised_matrix::stream_type() const { return type_ == at::kBFloat16 ? at::kFloat : type_; }

quantised_matrix quantised_matrix::part(std::int64_t begin, std::int64_t size) const {
  quantised_matrix some = *this;
  some.rows_.first_row += as_size(begin);
  some.out_ = size;
  some.bytes_ = bytes_ / std::max<std::int64_t>(1, out_) * size;
  return some;
}

at::Tensor quantised_matrix::dense(std::int64_t begin, std::int64_t size, at::ScalarType type) const {
  at::Tensor all = at::empty({size, in()}, at::kFloat);
  float* const to = all.mutable_data_ptr<float>();
  shared_pool().divide(as_size(size), row_grain(rows_.in), [&](std::size_t first, std::size_t end) {
    for (std::size_t r = first; r < end; ++r) kernels().quantised.dequantise(rows_, as_size(begin) + r, 0, rows_.in, to + r * rows_.in);
  });
  return all.to(type);
}

at::Tensor quantised_matrix::look_up(at::Tensor const& tokens) const {
  at::Tensor all = at::empty({tokens.size(0), in()}, at::kFloat);
  float* const to = all.mutable_data_ptr<float>();
  std::int64_t const* const which = tokens.const_data_ptr<std::int64_t>();
  shared_pool().divide(as_size(tokens.size(0)), row_grain(rows_.in), [&](std::size_t first, std::size_t end) {
    for (std::size_t r = first; r < end; ++r) kernels().quantised.dequantise(rows_, as_size(which[r]), 0, rows_.in, to + r * rows_.in);
  });
  return all.to(type_);
}

// Numbers of other types than the kernels': pieces of the matrix as tensors.
at::Tensor quantised_matrix::by_operations(at::Tensor const& x, bool transposed, at::Tensor const& onto) const {
  std::int64_t const at_once = std::max<std::int64_t>(1, (std::int64_t{1} << 24) / std::max<std::int64_t>(1, in()));
  std::vector<at::Tensor> columns;
  at::Tensor sum = onto;
  for (std::int64_t begin = 0; begin < out_; begin += at_once) {
    std::int64_t const size = std::min(at_once, out_ - begin);
    at::Tensor const w = dense(begin, size, x.scalar_type()).to(x.device());
    if (transposed)
      columns.push_back(at::mm(x, w.t()));
    else
      sum = sum.defined() ? sum.addmm_(x.narrow(1, begin, size), w) : at::mm(x.narrow(1, begin, size), w);
  }
  if (!transposed) return sum;
  at::Tensor all = columns.size() == 1 ? columns.front() : at::cat(columns, 1);
  return onto.defined() ? at::add(onto, all) : all;
}

at::Tensor quantised_matrix::product(at::Tensor const& x, bool transposed, at::Tensor const& onto) const {
  timed const scope(phase::products);
  scope.count(2.0 * static_cast<double>(x.size(0)) * static_cast<double>(out_) * static_cast<double>(rows_.in));
  if (!host_ops::multiplies_by(x) || (onto.defined() && !host_ops::takes(onto))) return by_operations(x, transposed, onto);
  std::size_t const m = as_size(x.size(0)), n = transposed ? as_size(out_) : rows_.in, k = transposed ? rows_.in : as_size(out_);
  // What is added to a product of rows is a sum of its own there, and in place here.
  at::Tensor const to = onto.defined() && !transposed ? onto : at::empty({x.size(0), static_cast<std::int64_t>(n)}, x.options().dtype(at::kFloat));
  if (m == 0) return to;
  quantised_product_kernels const& by = kernels().quantised_product;
  bool const narrow = by.multiply_by_tiles != nullptr && (type_ == at::kBFloat16 || x.scalar_type() == at::kBFloat16);
  auto const kernel = narrow ? by.multiply_by_tiles : by.multiply;
  float const* const from = onto.defined() ? onto.const_data_ptr<float>() : nullptr;
  float* const out = to.mutable_data_ptr<float>();
  std::size_t const row = as_size(to.stride(0)), tiles = (n + by.columns - 1) / by.columns;
  constexpr std::size_t worth_a_thread = 4'000'000;  // multiply-adds
  std::size_t const grain = std::max<std::size_t>(1, worth_a_thread / std::max<std::size_t>(1, m * k * by.columns));
  shared_pool().divide(tiles, grain, [&](std::size_t begin, std::size_t end) {
    std::size_t const first = begin * by.columns, columns = std::min(n, end * by.columns) - first;
    kernel({.a = view_of(x),
            .w = &rows_,
            .first_out = transposed ? first : 0,
            .first_in = transposed ? 0 : first,
            .transposed = transposed,
            .onto = from ? from + first : nullptr,
            .c = out + first,
            .c_row = row,
            .m = m,
            .n = columns,
            .k = k});
  });
  return to;
}

at::Tensor quantised_matrix::linear(at::Tensor const& x, at::Tensor const& onto) const { return product(x, true, onto.defined() ? onto.contiguous() : onto); }
at::Tensor quantised_matrix::input_gradient(at::Tensor const& g, at::Tensor sum) const { return product(g, false, sum); }

}  // namespace kedge::llm
