// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tensor_job.hpp"

namespace kedge::llm {

/// Where a tensor of the result stands.
struct tensor_place {
  double depth = 0;     ///< t in its slice, 0 … 1: gradients of parameters are read there. 0 outside the layers
  double in_model = 0;  ///< 0 for the first layer and what comes before, 1 for the last and what comes after: for LiNeS
};

/// Every parameter that the recipe's method reads, for one tensor: looked up in the source, then the slice, then the recipe.
/// name    of the result's tensor, for what is one value a tensor;  inputs: the names in the sources, for what is one a model
/// throws  kedge::llm::error naming parameter, model and tensor where one that has no default is not given
merge_values look_up(soup_recipe const& recipe, soup_slice const& slice, tensor_place place, std::string const& name,
                     std::vector<std::string> const& inputs, std::optional<std::size_t> base);

}  // namespace kedge::llm
