// SPDX-License-Identifier: Apache-2.0
#include "buckets.hpp"

#include <algorithm>
#include <charconv>
#include <functional>
#include <numeric>
#include <string_view>
#include <utility>

#include "../model/side_by_side.hpp"

namespace kedge::llm {
namespace {

// The layer whose backward pass completes a parameter's gradient; the embedding's is complete at the end of the pass.
std::int64_t completing_layer(std::string_view name) {
  constexpr std::string_view mark = ".layers.";
  if (auto const at = name.find(mark); at != std::string_view::npos) {
    std::int64_t layer = at_the_end;
    std::from_chars(name.data() + at + mark.size(), name.data() + name.size(), layer);
    return layer;
  }
  return name.find("embed_tokens") == std::string_view::npos ? after_all_layers : at_the_end;
}

// A model that is trained beside the first one has names of its own: "value.model.layers.0…".
bool stands_beside(std::string_view name) { return name.starts_with("value."); }

// A bucket is closed once it has so many elements, 25 MiB of fp32: few of them in a large model, and several in a small one, so that some
// travel early.
std::int64_t enough_elements(std::int64_t all) { return std::min<std::int64_t>((25 << 20) / 4, all / 8); }

std::int64_t rounded_up(std::int64_t elements, std::int64_t unit) { return (elements + unit - 1) / unit * unit; }

at::Tensor placed(at::Tensor const& memory, tensor_part const& place, at::Tensor const& like) {
  return memory.narrow(0, place.begin, place.size).view(like.sizes());
}

}  // namespace

std::vector<std::int64_t> sizes_of(pack const& theta) {
  std::vector<std::int64_t> sizes;
  for (at::Tensor const& t : theta) sizes.push_back(t.numel());
  return sizes;
}

std::vector<std::int64_t> sizes_of(std::vector<parameter> const& names) {
  std::vector<std::int64_t> sizes;
  for (parameter const& p : names) sizes.push_back(std::accumulate(p.shape.begin(), p.shape.end(), std::int64_t{1}, std::multiplies<>()));
  return sizes;
}

bucket_layout::bucket_layout(std::vector<parameter> const& names, pack const& theta, int processes, buckets_of cut)
    : bucket_layout(names, sizes_of(theta), processes, cut) {}

bucket_layout::bucket_layout(std::vector<parameter> const& names, std::vector<std::int64_t> const& sizes, int processes, buckets_of cut)
    : processes_(processes) {
  for (std::size_t i = 0; i < sizes.size(); ++i) all_.push_back({i, 0, sizes[i]});
  std::vector<std::vector<std::size_t>> groups = kin_of(names, sizes.size());
  auto const layer_of = [&](std::vector<std::size_t> const& group) { return group.front() < names.size() ? completing_layer(names[group.front()].name) : at_the_end; };
  auto const beside = [&](std::vector<std::size_t> const& group) { return cut == buckets_of::layers && group.front() < names.size() && stands_beside(names[group.front()].name); };
  std::stable_sort(groups.begin(), groups.end(), [&](auto const& a, auto const& b) {
    return beside(a) != beside(b) ? beside(b) : layer_of(a) > layer_of(b);
  });
  std::int64_t const enough = enough_elements(std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0}));
  std::vector<std::size_t> together;
  std::int64_t elements = 0, layer = 0;
  for (auto const& group : groups) {
    bool const other = layer_of(group) != layer, waits = other && layer_of(group) == at_the_end;  // others need not wait with it
    if (!together.empty() && (cut == buckets_of::layers ? other : elements >= enough || waits)) {
      place(together, layer, sizes);
      together.clear();
      elements = 0;
    }
    layer = layer_of(group);
    for (std::size_t const i : group) {
      together.push_back(i);
      elements += sizes[i];
    }
  }
  place(together, layer, sizes);
}

void bucket_layout::place(std::vector<std::size_t> const& which, std::int64_t layer, std::vector<std::int64_t> const& sizes) {
  bucket one{layer, {}, 0};
  for (std::size_t const i : which) {
    one.places.push_back({i, one.size, sizes[i]});
    one.size += rounded_to_place(sizes[i]);
  }
  one.size = rounded_up(one.size, place_elements * processes_);
  buckets_.push_back(std::move(one));
}

shard bucket_layout::share(int rank) const {
  if (processes_ == 1) return all_;
  shard own;
  for (bucket const& b : buckets_) {
    std::int64_t const part = b.size / processes_, first = rank * part, last = first + part;
    for (tensor_part const& p : b.places)
      if (std::int64_t const begin = std::max(p.begin, first), end = std::min(p.begin + p.size, last); begin < end)
        own.push_back({p.tensor, begin - p.begin, end - begin});
  }
  return own;
}

bucketed_pack bucket_layout::zeros(pack const& like) const {
  bucketed_pack all{{}, pack(like.size())};
  for (bucket const& b : buckets_) {
    at::Tensor const& memory = all.buckets.emplace_back(at::zeros({b.size}, like[b.places.front().tensor].options()));
    for (tensor_part const& p : b.places) all.tensors[p.tensor] = placed(memory, p, like[p.tensor]);
  }
  return all;
}

pack bucket_layout::take(pack& values) const {
  pack buckets;
  for (bucket const& b : buckets_) {  // one at a time: what it replaces is freed before the next
    at::Tensor const& memory = buckets.emplace_back(at::zeros({b.size}, values[b.places.front().tensor].options()));
    for (tensor_part const& p : b.places) values[p.tensor] = placed(memory, p, values[p.tensor]).copy_(values[p.tensor]);
  }
  return buckets;
}

}  // namespace kedge::llm
