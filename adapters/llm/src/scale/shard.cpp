// SPDX-License-Identifier: Apache-2.0
#include "shard.hpp"

#include <algorithm>

namespace kedge::llm {

std::int64_t elements_of(pack const& theta) {
  std::int64_t count = 0;
  for (at::Tensor const& t : theta) count += t.numel();
  return count;
}

shard shard_of(pack const& theta, int rank, int size) {
  std::int64_t const all = elements_of(theta);
  std::int64_t before = 0;
  auto const boundary = [&](int r) { return static_cast<std::int64_t>(static_cast<double>(all) * r / size); };
  shard rows;
  for (std::size_t i = 0; i < theta.size(); ++i) {
    std::int64_t const count = theta[i].size(0), width = std::max<std::int64_t>(1, theta[i].numel() / std::max<std::int64_t>(1, count));
    auto const row = [&](int r) { return r == size ? count : std::clamp<std::int64_t>((boundary(r) - before + width / 2) / width, 0, count); };
    if (std::int64_t const begin = row(rank), end = row(rank + 1); begin < end) rows.push_back({i, begin, end - begin});
    before += theta[i].numel();
  }
  return rows;
}

pack rows_of(pack const& theta, shard const& rows) {
  pack views;
  for (row_range const& r : rows) views.push_back(r.size == theta[r.tensor].size(0) ? theta[r.tensor] : theta[r.tensor].narrow(0, r.begin, r.size));
  return views;
}

pack& share_start(process_group const& group, pack& theta) {
  std::vector<process_group::pending> under_way;
  if (!group.alone())
    for (at::Tensor& t : theta) {
      t = t.contiguous();  // what is sent and cut into rows
      under_way.push_back(group.begin_broadcast(t, 0));
    }
  for (process_group::pending const& wait : under_way) wait();
  return theta;
}

void exchange_shards(process_group const& group, pack& theta) {
  if (group.alone()) return;
  std::vector<process_group::pending> under_way;
  for (int root = 0; root < group.size(); ++root)
    for (at::Tensor const& rows : rows_of(theta, shard_of(theta, root, group.size()))) under_way.push_back(group.begin_broadcast(rows, root));
  for (process_group::pending const& wait : under_way) wait();
}

}  // namespace kedge::llm
