// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>  // size_t
#include <string>   // string
#include <vector>   // vector

#include "tensor_job.hpp"

namespace kedge::llm {

/// Inner products of n vectors, row by row: all that norms, angles and spherical means need to know of them.
struct gram_matrix {
  std::size_t n = 0;
  std::vector<double> products;  ///< [n, n]

  double operator()(std::size_t i, std::size_t j) const { return products[i * n + j]; }
};

/// Coefficients of the vectors in the result. Every method here is a linear combination of its vectors whose coefficients
/// depend on their Gram matrix alone, so that two passes over the numbers are enough, whatever the iterations.
/// throws  kedge::llm::error, beginning with `name`, where the vectors cancel out
/// source  mergekit 0.1.5's definitions of the methods; the reduction to the Gram matrix is ours

/// sin((1−t)Ω)/sin Ω and sin(tΩ)/sin Ω; 1 − t and t for angles with |cos Ω| > 0.9995.
std::vector<double> slerp_coefficients(gram_matrix const& gram, double t);
/// The same down to angles that float64 cannot tell from 0 or π, at t = w₁/(w₀ + w₁).
std::vector<double> nuslerp_coefficients(gram_matrix const& gram, std::vector<double> const& weight);
std::vector<double> multislerp_coefficients(gram_matrix const& gram, std::vector<double> weight, bool normalize, double eps,
                                            std::string const& name);
/// Fixed point of the Riemannian mean with equal weights, from the normalised mean on.
std::vector<double> karcher_coefficients(gram_matrix const& gram, std::size_t max_iter, double tol);
/// t/n for each of n task vectors, t = n cos θ / (1 + (n − 1) cos θ) with the mean cosine of all pairs.
std::vector<double> model_stock_coefficients(gram_matrix const& gram);

}  // namespace kedge::llm
