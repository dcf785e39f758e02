// SPDX-License-Identifier: Apache-2.0
#include "packed_weights.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>

#include <sys/mman.h>

#include "../base/thread_pool.hpp"

namespace kedge::llm {
namespace {

constexpr std::size_t large_page = std::size_t{2} << 20;

std::size_t panel_width() { return kernels().decode.panel_width; }

void pack_panel(std::vector<float const*> const& rows, std::size_t in, float* to) {
  for (std::size_t k = 0; k < in; ++k)
    for (float const* const row : rows) *to++ = row ? row[k] : 0;
}

void pack_panel(std::vector<std::uint16_t const*> const& rows, std::size_t in, std::uint16_t* to) {
  std::size_t const half = rows.size() / 2;
  for (std::size_t k = 0; k < in; ++k)
    for (std::size_t j = 0; j < half; ++j)
      for (auto const* const row : {rows[j], rows[j + half]}) *to++ = row ? row[k] : std::uint16_t{0};
}

template <class Element>
void pack_panels(std::size_t panels, std::size_t in, Element* to, std::vector<void const*> const& outputs,
                 thread_pool& threads) {
  threads.divide(panels, 8, [&](std::size_t begin, std::size_t end) {
    std::vector<Element const*> rows(panel_width());
    for (std::size_t p = begin; p < end; ++p) {
      for (std::size_t j = 0; j < rows.size(); ++j) {
        std::size_t const output = p * rows.size() + j;
        rows[j] = output < outputs.size() ? static_cast<Element const*>(outputs[output]) : nullptr;
      }
      pack_panel(rows, in, to + p * rows.size() * in);
    }
  });
}

// Buffers given back, by size.
class buffer_store {
 public:
  ~buffer_store() {
    for (auto const& [size, bytes] : free_) std::free(bytes);
  }
  std::byte* take(std::size_t size) {
    std::lock_guard const lock(mutex_);
    auto const found = free_.find(size);
    if (found == free_.end()) return nullptr;
    std::byte* const bytes = found->second;
    free_.erase(found);
    return bytes;
  }
  void keep(std::byte* bytes, std::size_t size) {
    std::lock_guard const lock(mutex_);
    free_.emplace(size, bytes);
  }

 private:
  std::mutex mutex_;
  std::multimap<std::size_t, std::byte*> free_;
};

buffer_store& kept_buffers() {
  static buffer_store store;
  return store;
}

}  // namespace

large_buffer::large_buffer(std::size_t bytes) : size_((bytes + large_page - 1) / large_page * large_page) {
  bytes_ = kept_buffers().take(size_);
  if (bytes_) return;
  bytes_ = static_cast<std::byte*>(std::aligned_alloc(large_page, size_));
  if (!bytes_) throw std::bad_alloc();
  madvise(bytes_, size_, MADV_HUGEPAGE);  // a wish: without it everything works, slower
}

large_buffer::~large_buffer() {
  if (bytes_) kept_buffers().keep(bytes_, size_);
}

// Outputs in the order of the panels: where their weights start, null where there is no such output, and their biases.
struct packed_matrix::panel_rows {
  std::vector<void const*> weights;
  std::vector<float> bias;
  bool has_bias = false;

  void push(at::Tensor const& w, at::Tensor const& b, std::int64_t i) {
    bool const there = i < w.size(0);
    weights.push_back(there ? static_cast<std::byte const*>(w.const_data_ptr()) +
                                  static_cast<std::size_t>(i * w.size(1) * w.element_size())
                            : nullptr);
    bias.push_back(there && b.defined() ? b.const_data_ptr<float>()[i] : 0);
    has_bias |= b.defined();
  }
  static at::Tensor wide(at::Tensor const& b) { return b.defined() ? b.to(at::kFloat).contiguous() : b; }
};

packed_matrix packed_matrix::pack(at::Tensor const& like, std::size_t outputs, std::size_t width, panel_rows rows,
                                  std::byte*& to, thread_pool& threads) {
  packed_matrix m;
  m.in_ = static_cast<std::size_t>(like.size(1));
  m.outputs_ = outputs;
  m.width_ = width;
  m.panels_ = (outputs + width - 1) / width;
  m.bf16_ = like.scalar_type() == at::kBFloat16;
  m.panels_at_ = to;
  if (m.bf16_)
    pack_panels(m.panels_, m.in_, reinterpret_cast<std::uint16_t*>(to), rows.weights, threads);
  else
    pack_panels(m.panels_, m.in_, reinterpret_cast<float*>(to), rows.weights, threads);
  to += m.panels_ * panel_width() * m.in_ * (m.bf16_ ? 2 : 4);
  if (!rows.has_bias) return m;
  m.bias_ = std::move(rows.bias);
  m.bias_.resize(m.panels_ * panel_width());
  return m;
}

packed_matrix packed_matrix::of(std::vector<at::Tensor> const& weights, std::vector<at::Tensor> const& biases, std::byte*& to,
                                thread_pool& threads) {
  panel_rows rows;
  for (std::size_t m = 0; m < weights.size(); ++m) {
    at::Tensor const bias = m < biases.size() ? panel_rows::wide(biases[m]) : at::Tensor();
    for (std::int64_t i = 0; i < weights[m].size(0); ++i) rows.push(weights[m], bias, i);
  }
  std::size_t const outputs = rows.weights.size();
  return pack(weights.front(), outputs, panel_width(), std::move(rows), to, threads);
}

packed_matrix packed_matrix::of_gate_and_up(at::Tensor const& gate, at::Tensor const& up, at::Tensor const& gate_bias,
                                            at::Tensor const& up_bias, std::byte*& to, thread_pool& threads) {
  auto const half = static_cast<std::int64_t>(panel_width() / 2);
  at::Tensor const of_gate = panel_rows::wide(gate_bias), of_up = panel_rows::wide(up_bias);
  panel_rows rows;
  for (std::int64_t first = 0; first < gate.size(0); first += half) {
    for (std::int64_t i = first; i < first + half; ++i) rows.push(gate, of_gate, i);
    for (std::int64_t i = first; i < first + half; ++i) rows.push(up, of_up, i);
  }
  return pack(gate, static_cast<std::size_t>(gate.size(0)), panel_width() / 2, std::move(rows), to, threads);
}

packed_matrix packed_matrix::of_rows(std::vector<row_source> sources, std::vector<float> bias) {
  packed_matrix m;
  m.in_ = sources.front().rows.in;
  for (row_source const& s : sources) m.outputs_ += s.out;
  m.width_ = panel_width();
  m.panels_ = (m.outputs_ + m.width_ - 1) / m.width_;
  m.sources_ = std::move(sources);
  m.bias_ = std::move(bias);
  if (!m.bias_.empty()) m.bias_.resize(m.panels_ * m.width_);
  return m;
}

void packed_matrix::decode(std::size_t panel, float* to) const {
  std::vector<panel_of_rows::place> places;
  std::size_t first = panel * width_;
  std::size_t const end = std::min(first + width_, outputs_);
  std::size_t begin = 0;
  for (row_source const& s : sources_) {
    for (; first < end && first < begin + s.out; ++first) places.push_back({&s.rows, first - begin});
    begin += s.out;
  }
  kernels().quantised_product.decode_panel({places.data(), places.size(), in_}, to);
}

panel_product packed_matrix::product(std::size_t panel, float const* x, std::size_t rows, float* y, std::size_t y_stride,
                                     panel_end end) const {
  return {.x = x,
          .x_stride = in_,
          .rows = rows,
          .in = in_,
          .panel = panels_at_ + panel * panel_width() * in_ * (bf16_ ? 2 : 4),
          .y = y + panel * width_,
          .y_stride = y_stride,
          .columns = std::min(width_, outputs_ - panel * width_),
          .end = end,
          .wide = nullptr,
          .bf16 = bf16_,
          .bias = bias_.empty() ? nullptr : bias_.data() + panel * panel_width()};
}

}  // namespace kedge::llm
