// SPDX-License-Identifier: Apache-2.0
#include "tensor_job.hpp"

#include <algorithm>  // copy, copy_n, fill, min

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/mapped_file.hpp>

#include "methods.hpp"
#include "numbers.hpp"

namespace kedge::llm {

/// Rows of other tensors in an order of their own.
struct row_gather {
  std::shared_ptr<std::vector<tensor_input>> sources;
  std::shared_ptr<row_order const> order;
  std::size_t width = 0, rows = 0;
  std::vector<float> mean;  ///< of all rows of the order, where there are more rows; from prepare() on

  /// Elements column … column + out.size() − 1 of a row.
  void load(std::size_t row, std::size_t column, std::span<float> out) const {
    if (row >= order->rows.size()) {
      std::copy_n(mean.begin() + static_cast<std::ptrdiff_t>(column), out.size(), out.begin());
      return;
    }
    auto const parts = order->parts_of(row);
    std::fill(out.begin(), out.end(), 0.0F);
    if (parts.size() == 1) return (*sources)[parts[0].source].load(parts[0].row * width + column, out);
    std::vector<float> one(out.size());
    for (auto const& part : parts) {
      (*sources)[part.source].load(part.row * width + column, one);
      for (std::size_t i = 0; i < one.size(); ++i) out[i] += one[i];
    }
    if (!parts.empty())
      for (float& x : out) x /= static_cast<float>(parts.size());
  }

  void take_mean() {
    if (rows == order->rows.size() || !mean.empty() || order->rows.empty()) return;
    std::vector<double> sum(width);
    std::vector<float> one(width);
    for (std::size_t row = 0; row < order->rows.size(); ++row) {
      load(row, 0, one);
      for (std::size_t i = 0; i < width; ++i) sum[i] += static_cast<double>(one[i]);
    }
    mean.resize(width);
    for (std::size_t i = 0; i < width; ++i) mean[i] = static_cast<float>(sum[i] / static_cast<double>(order->rows.size()));
  }
};

tensor_input::tensor_input(checkpoint const& model, std::string name, std::optional<dtype> rounding,
                           low_rank_entry const* added)
    : model_(&model), name_(std::move(name)), elements_(model.entry(name_).elements()), rounding_(rounding), added_(added) {
  auto const stored = find_dtype(model.entry(name_).stored_type);
  if (!stored || !is_floating(*stored)) return;
  if (auto const view = model.view(name_, *stored)) {
    bytes_ = *view;
    type_ = *stored;
  }
}

tensor_input::tensor_input(std::shared_ptr<std::vector<tensor_input>> sources, std::shared_ptr<row_order const> order,
                           std::size_t width, std::size_t rows)
    : elements_(width * rows),
      gather_(std::make_shared<row_gather>(row_gather{std::move(sources), std::move(order), width, rows, {}})) {}

void tensor_input::load(std::size_t begin, std::span<float> out) const {
  if (!owned_.empty()) {
    auto const from = std::span{owned_}.subspan(begin, out.size());
    std::copy(from.begin(), from.end(), out.begin());
    return;
  }
  if (gather_) {
    std::size_t const width = gather_->width;
    for (std::size_t done = 0, count = 0; done < out.size(); done += count) {
      std::size_t const column = (begin + done) % width;
      count = std::min(width - column, out.size() - done);
      gather_->load((begin + done) / width, column, out.subspan(done, count));
    }
    return;
  }
  std::size_t const size = size_of(type_);
  widen(type_, bytes_.subspan(begin * size, out.size() * size), out);
  if (update_) update_->add(begin, out);
  check(out);
  if (rounding_ != type_ || update_) round(out);
}

void tensor_input::round(std::span<float> values) const {
  if (!rounding_ || *rounding_ == dtype::f32 || *rounding_ == dtype::f64) return;
  std::vector<std::byte> rounded(values.size() * size_of(*rounding_));
  narrow(values, *rounding_, rounded);
  widen(*rounding_, rounded, values);
  check(values);
}

void tensor_input::check(std::span<float const> values) const {
  if (!all_finite(values))
    throw error(in_quotes(model_->path().string()) + ": tensor " + in_quotes(name_) +
                " holds NaN or infinity; the checkpoint is damaged, or too wide for the number format asked for");
}

void tensor_input::prepare() {
  if (gather_) {
    for (auto& source : *gather_->sources) source.prepare();
    return gather_->take_mean();
  }
  if (added_ != nullptr && !update_) update_ = std::make_shared<low_rank_update const>(*added_);
  if (!bytes_.empty() || !owned_.empty() || elements_ == 0) return;
  owned_.resize(elements_);
  model_->read(name_, dtype::f32, std::as_writable_bytes(std::span{owned_}));
  if (update_) update_->add(0, owned_);
  check(owned_);
  round(owned_);
}

void tensor_input::materialise() {
  prepare();
  if (!owned_.empty()) return;
  std::vector<float> values(elements_);
  for (std::size_t begin = 0; begin < values.size(); begin += piece_elements)
    load(begin, std::span{values}.subspan(begin, std::min(piece_elements, values.size() - begin)));
  owned_ = std::move(values);
}

void tensor_input::prefetch() const noexcept {
  if (gather_)
    for (auto const& source : *gather_->sources) source.prefetch();
  mapped_file::prefetch(bytes_);
}

void tensor_input::release() noexcept {
  if (gather_)
    for (auto& source : *gather_->sources) source.release();
  mapped_file::release(bytes_);
  std::vector<float>{}.swap(owned_);
  update_.reset();
}

std::vector<std::size_t> tensor_job::others() const {
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (i != base) out.push_back(i);
  return out;
}

void load_difference(tensor_job const& job, std::size_t input, std::size_t begin, std::span<float> out) {
  std::vector<float> base(out.size());
  job.inputs[*job.base].load(begin, base);
  job.inputs[input].load(begin, out);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] -= base[i];
}

void merge_tensor(tensor_job& job, thread_pool& workers, tensor_sink const& sink) {
  for (auto& input : job.inputs) input.prepare();
  method_of(job.method).merge(job, workers, sink);
  for (auto& input : job.inputs) input.release();
}

}  // namespace kedge::llm
