// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>   // min
#include <cstddef>     // byte, size_t
#include <cstdint>     // int64_t, uint64_t
#include <functional>  // function
#include <map>         // map
#include <memory>      // shared_ptr
#include <optional>    // optional
#include <span>        // span
#include <string>      // string
#include <vector>      // vector

#include <kedge/llm/base/mapped_file.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/soup/recipe.hpp>

#include "../base/thread_pool.hpp"
#include "adapter.hpp"
#include "row_order.hpp"

namespace kedge::llm {

struct row_gather;

/// The numbers of one model's tensor as float32, from the mapped file piece by piece where that is possible.
class tensor_input {
 public:
  /// Numbers are rounded to `rounding` as they are read, where there is one.
  /// added   what an adapter adds to them, or null
  tensor_input(checkpoint const& model, std::string name, std::optional<dtype> rounding, low_rank_entry const* added = nullptr);

  /// A tensor whose rows are brought into another order, some of them from other models.
  /// sources  the tensor in every model that rows come from
  /// width    elements of a row;  rows: of the result, the mean of all others where `order` has no more
  tensor_input(std::shared_ptr<std::vector<tensor_input>> sources, std::shared_ptr<row_order const> order, std::size_t width, std::size_t rows);

  /// Elements begin … begin + out.size() − 1. May run in many threads.
  /// throws  kedge::llm::error naming model and tensor if a number is NaN or infinite
  void load(std::size_t begin, std::span<float> out) const;

  /// Fetches and decodes what cannot be read piece by piece; may be called again.
  void prepare();
  /// Takes every number into memory, for methods that walk across rows.
  void materialise();
  /// Asks the system to begin reading.
  void prefetch() const noexcept;
  /// Gives memory back: pages of the map, and what prepare() made.
  void release() noexcept;

  /// All numbers after materialise().
  std::span<float const> values() const noexcept { return owned_; }
  std::size_t elements() const noexcept { return elements_; }

 private:
  void check(std::span<float const> values) const;
  void round(std::span<float> values) const;

  checkpoint const* model_ = nullptr;
  std::string name_;
  std::size_t elements_ = 0;
  std::optional<dtype> rounding_;
  low_rank_entry const* added_ = nullptr;
  std::shared_ptr<low_rank_update const> update_;  ///< added_ in memory, from prepare() on
  std::span<std::byte const> bytes_;               ///< in the file, of type_; empty where they need decoding
  dtype type_ = dtype::f32;
  std::vector<float> owned_;
  std::shared_ptr<row_gather> gather_;
};

/// Parameters of one tensor, looked up: one value each, or one an input.
class merge_values {
 public:
  double growth = 1;  ///< LiNeS' factor on what is added to the base, at this depth

  void set(std::string_view name, std::vector<double> values) { values_[name] = std::move(values); }
  [[nodiscard]] double operator()(std::string_view name, std::size_t input = 0) const { return values_.at(name)[input]; }
  [[nodiscard]] std::vector<double> const& all(std::string_view name) const { return values_.at(name); }
  [[nodiscard]] bool is_on(std::string_view name) const { return values_.at(name).front() != 0; }

 private:
  std::map<std::string_view, std::vector<double>> values_;  ///< names are those of the parameter table
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

/// Entries begin … begin + out.size() − 1 of input − base.
void load_difference(tensor_job const& job, std::size_t input, std::size_t begin, std::span<float> out);

/// Merges one tensor. The result does not depend on the number of workers.
/// throws  kedge::llm::error where the values of the parameters don't fit the tensor
void merge_tensor(tensor_job& job, thread_pool& workers, tensor_sink const& sink);

}  // namespace kedge::llm
