// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // fill, max, min
#include <numeric>    // iota
#include <stdexcept>  // invalid_argument

#include <kedge/gram.hpp>
#include <kedge/llm/base/error.hpp>

#include "numbers.hpp"
#include "methods.hpp"

namespace kedge::llm {
namespace {

/// The vectors that a method mixes: inputs, or their differences from the base.
struct ingredients {
  std::vector<std::size_t> inputs;
  bool differences = false;
};

ingredients ingredients_of(tensor_job const& job) {
  std::vector<std::size_t> all(job.inputs.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  switch (job.method) {
    case soup_method::slerp:
      return {{*job.base, 1 - *job.base}, false};
    case soup_method::nuslerp:
    case soup_method::multislerp:
    case soup_method::model_stock:
      return {job.others(), job.base.has_value()};
    default:
      return {all, false};
  }
}

std::vector<double> weights_of(tensor_job const& job, ingredients const& what) {
  std::vector<double> out;
  for (std::size_t const i : what.inputs) out.push_back(job.values("weight", i));
  return out;
}

/// What counts as no length at all is mergekit 0.1.5's.
std::vector<double> coefficients_of(tensor_job const& job, ingredients const& what, gram_matrix const& gram) try {
  constexpr double smallest_norm = 1e-8, smallest_product = 1e-6;
  merge_values const& v = job.values;
  switch (job.method) {
    case soup_method::slerp:
      return slerp_coefficients(gram, v("t"), smallest_norm);
    case soup_method::nuslerp:
      return nuslerp_coefficients(gram, weights_of(job, what));
    case soup_method::multislerp:
      return multislerp_coefficients(gram, weights_of(job, what), v.is_on("normalize_weights"), v("eps"));
    case soup_method::karcher:
      return karcher_coefficients(gram, static_cast<std::size_t>(std::max(0.0, v("max_iter"))), v("tol"), v("tol"));
    default: {
      std::vector<double> c = model_stock_coefficients(gram, smallest_product);
      for (double& x : c) x *= v.growth;
      return c;
    }
  }
} catch (std::invalid_argument const& refused) {
  throw error("tensor " + in_quotes(job.name) + ": " + refused.what());
}

/// Inputs of a piece side by side, as differences from the base where they are wanted.
class piece_buffer {
 public:
  piece_buffer(tensor_job const& job, ingredients const& what) : job_(job), what_(what) {
    vectors_.resize(what.inputs.size(), std::vector<float>(std::min(job.elements, piece_elements)));
    if (what.differences) base_.resize(vectors_.front().size());
  }

  void load(std::size_t begin, std::size_t count) {
    count_ = count;
    if (what_.differences) job_.inputs[*job_.base].load(begin, std::span{base_}.first(count));
    for (std::size_t v = 0; v < vectors_.size(); ++v) {
      job_.inputs[what_.inputs[v]].load(begin, std::span{vectors_[v]}.first(count));
      if (what_.differences)
        for (std::size_t i = 0; i < count; ++i) vectors_[v][i] -= base_[i];
    }
  }

  std::span<float const> vector(std::size_t v) const { return std::span{vectors_[v]}.first(count_); }
  std::span<float const> base() const { return std::span{base_}.first(base_.empty() ? 0 : count_); }

 private:
  tensor_job const& job_;
  ingredients const& what_;
  std::size_t count_ = 0;
  std::vector<std::vector<float>> vectors_;
  std::vector<float> base_;
};

/// y ← y + w·x, product and sum rounded one after the other.
void add_product(float w, std::span<float const> x, std::span<float> y) {
  for (std::size_t i = 0; i < y.size(); ++i) y[i] += w * x[i];
}

/// out ← [base +] Σ cᵥ xᵥ, in float32 in the order of the vectors.
void mix(std::vector<double> const& c, piece_buffer const& from, std::span<float> out) {
  std::fill(out.begin(), out.end(), 0.0F);
  for (std::size_t v = 0; v < c.size(); ++v) add_product(static_cast<float>(c[v]), from.vector(v), out);
  for (std::size_t i = 0; i < from.base().size(); ++i) out[i] += from.base()[i];
}

/// Piece by piece, and then over the pieces in their order: the sums do not depend on the workers.
gram_matrix gram_of(tensor_job const& job, ingredients const& what, thread_pool& workers, std::vector<piece_buffer>& buffers) {
  std::size_t const n = what.inputs.size();
  std::vector<double> products(pieces_of(job.elements) * n * n);
  for_pieces(workers, job.elements, [&](std::size_t piece, std::size_t begin, std::size_t count, std::size_t worker) {
    piece_buffer& buffer = buffers[worker];
    buffer.load(begin, count);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = i; j < n; ++j) products[(piece * n + i) * n + j] = dot(buffer.vector(i), buffer.vector(j));
  });
  gram_matrix out{n, std::vector<double>(n * n)};
  for (std::size_t piece = 0; piece < pieces_of(job.elements); ++piece)
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = i; j < n; ++j) out.products[i * n + j] += products[(piece * n + i) * n + j];
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < i; ++j) out.products[i * n + j] = out.products[j * n + i];
  return out;
}

void merge_whole(tensor_job const& job, thread_pool& workers, tensor_sink const& sink) {
  ingredients const what = ingredients_of(job);
  std::vector<piece_buffer> buffers(workers.size(), piece_buffer(job, what));
  std::vector<double> const c = coefficients_of(job, what, gram_of(job, what, workers, buffers));
  std::vector<std::vector<float>> results(workers.size(), std::vector<float>(std::min(job.elements, piece_elements)));
  for_pieces(workers, job.elements, [&](std::size_t, std::size_t begin, std::size_t count, std::size_t worker) {
    buffers[worker].load(begin, count);
    std::span<float> const out = std::span{results[worker]}.first(count);
    mix(c, buffers[worker], out);
    sink(begin, out);
  });
}

/// Lines of a tensor along one axis: line l begins at (l / inner)·length·inner + l % inner, its elements `inner` apart.
struct lines {
  std::size_t count = 1, length = 0, inner = 1;
};

lines lines_of(tensor_job const& job, bool first_axis) {
  if (job.shape.size() < 2) return {1, job.elements, 1};
  auto const length = static_cast<std::size_t>(first_axis ? job.shape.front() : job.shape.back());
  std::size_t const count = length == 0 ? 0 : job.elements / length;
  return {count, length, first_axis ? count : 1};
}

/// The same with coefficients of each line's own.
void merge_lines(tensor_job& job, lines const& layout, thread_pool& workers, tensor_sink const& sink) {
  for (auto& input : job.inputs) input.materialise();
  ingredients const what = ingredients_of(job);
  std::size_t const n = what.inputs.size();
  std::vector<float> result(job.elements);
  workers.run(layout.count, [&](std::size_t line, std::size_t) {
    std::size_t const begin = line / layout.inner * layout.length * layout.inner + line % layout.inner;
    std::vector<std::vector<float>> vectors(n, std::vector<float>(layout.length));
    auto const at = [&](std::size_t input, std::size_t k) { return job.inputs[input].values()[begin + k * layout.inner]; };
    for (std::size_t v = 0; v < n; ++v)
      for (std::size_t k = 0; k < layout.length; ++k)
        vectors[v][k] = at(what.inputs[v], k) - (what.differences ? at(*job.base, k) : 0.0F);
    gram_matrix gram{n, std::vector<double>(n * n)};
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) gram.products[i * n + j] = dot(vectors[i], vectors[j]);
    std::vector<double> const c = coefficients_of(job, what, gram);
    std::vector<float> sum(layout.length);
    for (std::size_t v = 0; v < n; ++v) add_product(static_cast<float>(c[v]), vectors[v], sum);
    for (std::size_t k = 0; k < layout.length; ++k)
      result[begin + k * layout.inner] = sum[k] + (what.differences ? at(*job.base, k) : 0.0F);
  });
  for_pieces(workers, job.elements, [&](std::size_t, std::size_t begin, std::size_t count, std::size_t) {
    sink(begin, std::span{result}.subspan(begin, count));
  });
}

/// Σ wᵢxᵢ by fused multiply-adds in the order of the inputs, then one division: mergekit's sum bit for bit.
void merge_linear(tensor_job const& job, thread_pool& workers, tensor_sink const& sink, std::vector<double> const& weights, bool normalize) {
  float total = 0;
  for (double const w : weights) total += static_cast<float>(w);
  if (normalize && total == 0)
    throw error("tensor " + in_quotes(job.name) + ": the weights sum to zero, and divided by their sum the result would be NaN; choose other weights, or normalize: false");
  struct scratch {
    std::vector<float> x, sum;
  };
  std::size_t const size = std::min(job.elements, piece_elements);
  std::vector<scratch> buffers(workers.size(), scratch{std::vector<float>(size), std::vector<float>(size)});
  for_pieces(workers, job.elements, [&](std::size_t, std::size_t begin, std::size_t count, std::size_t worker) {
    std::span<float> const x = std::span{buffers[worker].x}.first(count), sum = std::span{buffers[worker].sum}.first(count);
    std::fill(sum.begin(), sum.end(), 0.0F);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      job.inputs[i].load(begin, x);
      add_scaled(static_cast<float>(weights[i]), x, sum);
    }
    if (normalize && total != 1)
      for (float& s : sum) s /= total;
    sink(begin, sum);
  });
}

/// One input times a factor; times 1 it is itself, its negative zeros included.
void merge_scaled(tensor_job const& job, thread_pool& workers, tensor_sink const& sink, std::size_t input, float factor) {
  for_pieces(workers, job.elements, [&](std::size_t, std::size_t begin, std::size_t count, std::size_t) {
    std::vector<float> x(count);
    job.inputs[input].load(begin, x);
    for (float& value : x) value *= factor;
    sink(begin, x);
  });
}

/// θ₁ + α(θ₁ − θ₀).
void merge_expo(tensor_job const& job, thread_pool& workers, tensor_sink const& sink) {
  tensor_input const &before = job.inputs[*job.base], &after = job.inputs[1 - *job.base];
  for_pieces(workers, job.elements, [&](std::size_t, std::size_t begin, std::size_t count, std::size_t) {
    std::vector<float> x(count), base(count), out(count);
    before.load(begin, base);
    after.load(begin, x);
    out = x;
    add_scaled_difference(static_cast<float>(job.values("alpha")), x, base, out);
    sink(begin, out);
  });
}

}  // namespace

void merge_by_coefficients(tensor_job& job, thread_pool& workers, tensor_sink const& sink) {
  merge_values const& v = job.values;
  switch (job.method) {
    case soup_method::greedy:
      return merge_linear(job, workers, sink, std::vector<double>(job.inputs.size(), 1), true);
    case soup_method::linear:
      return merge_linear(job, workers, sink, v.all("weight"), v.is_on("normalize"));
    case soup_method::passthrough:
      return merge_scaled(job, workers, sink, 0, static_cast<float>(v("scale")));
    case soup_method::expo:
      return merge_expo(job, workers, sink);
    case soup_method::nuslerp:
      if (!v.is_on("nuslerp_flatten")) return merge_lines(job, lines_of(job, v.is_on("nuslerp_row_wise")), workers, sink);
      break;
    case soup_method::model_stock:
      if (v.is_on("filter_wise") && job.shape.size() > 1) return merge_lines(job, lines_of(job, false), workers, sink);
      break;
    case soup_method::multislerp:
      // One model is itself, without the round trip through its difference from the base.
      if (auto const others = job.others(); others.size() == 1) return merge_scaled(job, workers, sink, others.front(), 1);
      break;
    case soup_method::karcher:
      if (job.inputs.size() == 1) return merge_scaled(job, workers, sink, 0, 1);
      break;
    default:
      break;
  }
  merge_whole(job, workers, sink);
}

}  // namespace kedge::llm
