// SPDX-License-Identifier: Apache-2.0
#include "tensor_job.hpp"

#include <algorithm>  // copy, min

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/mapped_file.hpp>

#include "numbers.hpp"

namespace kedge::llm {

tensor_input::tensor_input(checkpoint const& model, std::string name, std::optional<dtype> rounding)
    : model_(&model), name_(std::move(name)), rounding_(rounding) {
  auto const stored = find_dtype(model.entry(name_).stored_type);
  if (!stored || !is_floating(*stored)) return;
  if (auto const view = model.view(name_, *stored)) {
    bytes_ = *view;
    type_ = *stored;
  }
}

void tensor_input::load(std::size_t begin, std::span<float> out) const {
  if (!owned_.empty()) {
    auto const from = std::span{owned_}.subspan(begin, out.size());
    std::copy(from.begin(), from.end(), out.begin());
    return;
  }
  std::size_t const size = size_of(type_);
  widen(type_, bytes_.subspan(begin * size, out.size() * size), out);
  check(out);
  if (!rounding_ || *rounding_ == type_ || *rounding_ == dtype::f32) return;
  std::vector<std::byte> rounded(out.size() * size_of(*rounding_));
  narrow(out, *rounding_, rounded);
  widen(*rounding_, rounded, out);
  check(out);
}

void tensor_input::check(std::span<float const> values) const {
  if (!all_finite(values))
    throw error(in_quotes(model_->path().string()) + ": tensor " + in_quotes(name_) +
                " holds NaN or infinity; the checkpoint is damaged, or too wide for the number format asked for");
}

void tensor_input::prepare() {
  if (!bytes_.empty() || !owned_.empty() || model_->entry(name_).elements() == 0) return;
  owned_.resize(model_->entry(name_).elements());
  model_->read(name_, dtype::f32, std::as_writable_bytes(std::span{owned_}));
  check(owned_);
  if (!rounding_ || *rounding_ == dtype::f32) return;
  std::vector<std::byte> rounded(owned_.size() * size_of(*rounding_));
  narrow(owned_, *rounding_, rounded);
  widen(*rounding_, rounded, owned_);
  check(owned_);
}

void tensor_input::materialise() {
  prepare();
  if (!owned_.empty()) return;
  std::vector<float> values(model_->entry(name_).elements());
  for (std::size_t begin = 0; begin < values.size(); begin += piece_elements)
    load(begin, std::span{values}.subspan(begin, std::min(piece_elements, values.size() - begin)));
  owned_ = std::move(values);
}

void tensor_input::release() noexcept {
  mapped_file::release(bytes_);
  std::vector<float>{}.swap(owned_);
}

std::vector<std::size_t> tensor_job::others() const {
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (i != base) out.push_back(i);
  return out;
}

void merge_tensor(tensor_job& job, thread_pool& workers, tensor_sink const& sink) {
  for (auto& input : job.inputs) input.prepare();
  switch (job.method) {
    case soup_method::task_arithmetic:
    case soup_method::ties:
    case soup_method::dare_linear:
    case soup_method::dare_ties:
    case soup_method::della:
    case soup_method::della_linear:
    case soup_method::breadcrumbs:
    case soup_method::breadcrumbs_ties:
      merge_task_vectors(job, workers, sink);
      break;
    default:
      merge_by_coefficients(job, workers, sink);
  }
  for (auto& input : job.inputs) input.release();
}

}  // namespace kedge::llm
