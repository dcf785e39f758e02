// SPDX-License-Identifier: Apache-2.0
#include "divided_pack.hpp"

#include <algorithm>

namespace kedge::llm {

// each: a model, where its tensors begin, and how many of them there are in a pack of so many
template <class Each>
void divided_pack::for_each(std::size_t count, Each const& each) const {
  std::size_t first = 0;
  for (auto const& model : models_) {
    if (first >= count) return;
    std::size_t const size = model->names().size();
    each(*model, first, std::min(size, count - first));
    first += size;
  }
}

namespace {

pack part(pack const& all, std::size_t first, std::size_t count) {
  return {all.begin() + static_cast<std::ptrdiff_t>(first), all.begin() + static_cast<std::ptrdiff_t>(first + count)};
}

void append(pack& to, pack const& more) { to.insert(to.end(), more.begin(), more.end()); }

}  // namespace

shard divided_pack::own(std::size_t count) const {
  shard all;
  for_each(count, [&](divided_model const& model, std::size_t first, std::size_t size) {
    for (tensor_part const& p : model.own())
      if (p.tensor < size) all.push_back({first + p.tensor, p.begin, p.size});
  });
  return all;
}

pack divided_pack::shaped(pack const& own) const {
  pack all;
  for_each(own.size(), [&](divided_model const& model, std::size_t first, std::size_t size) { append(all, model.shaped(part(own, first, size))); });
  return all;
}

pack divided_pack::zeros(at::TensorOptions const& options) const {
  pack all;
  for (auto const& model : models_) append(all, model->zeros(options));
  return all;
}

pack divided_pack::memories(pack const& own) const {
  pack all;
  for_each(own.size(), [&](divided_model const& model, std::size_t first, std::size_t size) { all.push_back(model.memory_of(part(own, first, size))); });
  return all;
}

pack divided_pack::cut(pack const& whole) const {
  pack all;
  for_each(whole.size(), [&](divided_model const& model, std::size_t first, std::size_t size) { append(all, model.cut(part(whole, first, size))); });
  return all;
}

pack divided_pack::weights_for(pack const& theta, at::Device device, at::ScalarType type) const {
  pack all;
  for_each(theta.size(),
           [&](divided_model const& model, std::size_t first, std::size_t size) { append(all, model.weights_for(part(theta, first, size), device, type)); });
  return all;
}

void divided_pack::collect_in(pack const& gradient) const {
  for_each(gradient.size(), [&](divided_model const& model, std::size_t first, std::size_t size) { model.collect_in(part(gradient, first, size)); });
}

}  // namespace kedge::llm
