// SPDX-License-Identifier: Apache-2.0
#include "side_by_side.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace kedge::llm {

at::Tensor side_by_side(at::TensorList parts, std::int64_t dimension) {
  at::Tensor const& first = parts.front();
  if (!first.defined()) return {};
  std::int64_t size = 0, next = first.storage_offset();
  for (at::Tensor const& part : parts) {
    bool const alike = part.defined() && part.dim() == first.dim() && part.scalar_type() == first.scalar_type() && part.is_alias_of(first) &&
                       part.strides() == first.strides() && part.storage_offset() == next;
    if (!alike) return {};
    for (std::int64_t d = 0; d < part.dim(); ++d)
      if (d != dimension && part.size(d) != first.size(d)) return {};
    size += part.size(dimension);
    next += part.size(dimension) * part.stride(dimension);
  }
  std::vector<std::int64_t> sizes = first.sizes().vec();
  sizes[static_cast<std::size_t>(dimension)] = size;
  return first.as_strided(sizes, first.strides(), first.storage_offset());
}

std::vector<std::vector<std::size_t>> kin_of(std::vector<parameter> const& names, std::size_t tensors) {
  constexpr std::array<std::array<std::string_view, 3>, 2> reading_the_same{{{"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj", ""}}};
  std::vector<std::vector<std::size_t>> groups;
  std::map<std::string, std::size_t> begun;  // the group of "where.what", with the first of its kin for what
  for (std::size_t i = 0; i < names.size(); ++i) {
    std::string_view const name = names[i].name;
    std::size_t const kind = name.rfind('.'), map = kind == std::string_view::npos ? kind : name.rfind('.', kind - 1);
    std::string key(name);
    if (map == std::string_view::npos) {
      groups.push_back({i});
      continue;
    }
    for (auto const& kin : reading_the_same)
      if (std::find(kin.begin(), kin.end(), name.substr(map + 1, kind - map - 1)) != kin.end())
        key = std::string(name.substr(0, map + 1)) + std::string(kin.front()) + std::string(name.substr(kind));
    auto const [place, first] = begun.try_emplace(key, groups.size());
    if (first) groups.emplace_back();
    groups[place->second].push_back(i);
  }
  for (std::size_t i = names.size(); i < tensors; ++i) groups.push_back({i});
  return groups;
}

void convert_side_by_side(pack& tensors, std::vector<std::vector<std::size_t>> const& groups, at::Device device, at::ScalarType type) {
  for (std::vector<std::size_t> const& group : groups) {
    std::int64_t size = 0, begin = 0;
    bool changes = false;
    for (std::size_t const i : group) {
      size += rounded_to_place(tensors[i].numel());
      changes = changes || tensors[i].scalar_type() != type || tensors[i].device() != device;
    }
    if (!changes) continue;
    at::Tensor const memory = at::empty({size}, tensors[group.front()].options().device(device).dtype(type));
    for (std::size_t const i : group) {
      std::int64_t const place = std::exchange(begin, begin + rounded_to_place(tensors[i].numel()));
      tensors[i] = memory.narrow(0, place, tensors[i].numel()).view(tensors[i].sizes()).copy_(tensors[i]);
    }
  }
}

}  // namespace kedge::llm
