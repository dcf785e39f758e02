// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>   // min
#include <cstddef>     // byte, size_t
#include <cstdint>     // int64_t, uint64_t
#include <functional>  // function
#include <optional>    // optional
#include <span>        // span
#include <string>      // string
#include <vector>      // vector

#include <kedge/llm/base/mapped_file.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/soup/recipe.hpp>

#include "../base/thread_pool.hpp"

namespace kedge::llm {

/// The numbers of one model's tensor as float32, from the mapped file piece by piece where that is possible.
class tensor_input {
 public:
  /// Numbers are rounded to `rounding` as they are read, where there is one.
  tensor_input(checkpoint const& model, std::string name, std::optional<dtype> rounding);

  /// Elements begin … begin + out.size() − 1. May run in many threads.
  /// throws  kedge::llm::error naming model and tensor if a number is NaN or infinite
  void load(std::size_t begin, std::span<float> out) const;

  /// Fetches and decodes what cannot be read piece by piece; may be called again.
  void prepare();
  /// Takes every number into memory, for methods that walk across rows.
  void materialise();
  /// Asks the system to begin reading.
  void prefetch() const noexcept { mapped_file::prefetch(bytes_); }
  /// Gives memory back: pages of the map, and what prepare() made.
  void release() noexcept;

  /// All numbers after materialise().
  std::span<float const> values() const noexcept { return owned_; }

 private:
  void check(std::span<float const> values) const;

  checkpoint const* model_;
  std::string name_;
  std::optional<dtype> rounding_;
  std::span<std::byte const> bytes_;  ///< in the file, of type_; empty where they need decoding
  dtype type_ = dtype::f32;
  std::vector<float> owned_;
};

/// Parameters of one tensor, looked up. Lists are in the order of the inputs.
struct merge_values {
  double t = 0.5, lambda = 1, eps = 1e-8, tol = 1e-5, alpha = 0;
  bool normalize = false, rescale = false, row_wise = false, flatten = true, normalize_weights = true, filter_wise = false;
  std::size_t max_iter = 10;
  std::vector<double> weight, density, gamma, epsilon, scale;
};

/// One tensor of the result: what goes in and how.
struct tensor_job {
  std::string name;
  std::vector<std::int64_t> shape;
  std::size_t elements = 0;
  soup_method method = soup_method::linear;
  std::vector<tensor_input> inputs;
  std::optional<std::size_t> base;  ///< index of the input that is the base
  merge_values values;
  std::uint64_t seed = 0;

  /// Indices of the inputs other than the base.
  std::vector<std::size_t> others() const;
};

/// Takes elements begin … begin + size − 1 of the result; called from many threads, once for each element.
using tensor_sink = std::function<void(std::size_t begin, std::span<float> values)>;

/// Elements of a piece: small enough for a processor's cache, times the inputs.
inline constexpr std::size_t piece_elements = std::size_t{1} << 16U;

inline std::size_t pieces_of(std::size_t elements) { return (elements + piece_elements - 1) / piece_elements; }

/// Calls work(piece, begin, count, worker) for every piece of a tensor.
template <class F>
void for_pieces(thread_pool& workers, std::size_t elements, F const& work) {
  workers.run(pieces_of(elements), [&](std::size_t piece, std::size_t worker) {
    std::size_t const begin = piece * piece_elements;
    work(piece, begin, std::min(piece_elements, elements - begin), worker);
  });
}

/// Merges one tensor. The result does not depend on the number of workers.
/// throws  kedge::llm::error where the values of the parameters don't fit the tensor
void merge_tensor(tensor_job& job, thread_pool& workers, tensor_sink const& sink);

/// The methods that mix the inputs with a coefficient each (linear, slerp, karcher, …).
void merge_by_coefficients(tensor_job& job, thread_pool& workers, tensor_sink const& sink);
/// The methods on task vectors of which entries may be dropped (ties, dare, …).
void merge_task_vectors(tensor_job& job, thread_pool& workers, tensor_sink const& sink);

}  // namespace kedge::llm
