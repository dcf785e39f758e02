// SPDX-License-Identifier: Apache-2.0
#include "shard.hpp"

namespace kedge::llm {

shard whole(pack const& theta) {
  shard all;
  for (std::size_t i = 0; i < theta.size(); ++i) all.push_back({i, 0, theta[i].numel()});
  return all;
}

std::int64_t elements_of(pack const& theta) {
  std::int64_t count = 0;
  for (at::Tensor const& t : theta) count += t.numel();
  return count;
}

pack parts_of(pack const& theta, shard const& parts) {
  pack views;
  for (tensor_part const& p : parts) {
    at::Tensor const& all = theta[p.tensor];
    if (p.size == all.numel())
      views.push_back(all);
    else if (at::Tensor const part = all.view({-1}).narrow(0, p.begin, p.size); all.dim() > 1)
      views.push_back(part.unsqueeze(0));
    else
      views.push_back(part);
  }
  return views;
}

}  // namespace kedge::llm
