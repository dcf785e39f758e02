// SPDX-License-Identifier: Apache-2.0
#include <torch/types.h>

#include <kedge/adapters/torch.hpp>
#include <kedge/kedge.hpp>

int main() {
  at::Tensor const x = torch::full({3}, 2.0, at::kDouble);
  at::Tensor y = kedge::deep_copy(x);
  kedge::axpby(2, x, 1, y);
  return kedge::dot(x, y) == 36 ? 0 : 1;
}
