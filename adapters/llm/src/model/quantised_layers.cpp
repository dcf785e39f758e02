// SPDX-License-Identifier: Apache-2.0

// Layers for steps of generation on a base that stays quantised: nothing is packed or merged.

#include <algorithm>

#include "model_tensors.hpp"
#include "ops.hpp"
#include "packed_layers.hpp"

namespace kedge::llm {
namespace {

std::size_t as_size(std::int64_t n) { return static_cast<std::size_t>(n); }

packed_matrix::row_source rows_of(at::Tensor const& t) {
  bool const narrow = t.scalar_type() == at::kBFloat16;
  auto const kept = std::make_shared<at::Tensor const>((narrow ? t : t.to(at::kFloat)).contiguous());
  std::size_t const in = as_size(t.size(1));
  return {{.format = narrow ? row_format::bf16 : row_format::f32,
           .data = static_cast<std::uint8_t const*>(kept->const_data_ptr()),
           .row_bytes = in * (narrow ? 2 : 4),
           .in = in},
          as_size(t.size(0)),
          kept};
}

packed_matrix::row_source rows_of(linear_map const& map) {
  if (!map.stored.defined()) return rows_of(map.weight);
  return {map.stored.rows(), as_size(map.stored.out()), std::make_shared<quantised_matrix const>(map.stored)};
}

// A number an output of all maps, `otherwise` where a map has none; empty where none has.
std::vector<float> joined(std::vector<linear_map> const& maps, at::Tensor (*of)(linear_map const&), float otherwise) {
  std::vector<float> all;
  bool any = false;
  for (linear_map const& map : maps) {
    at::Tensor const t = of(map);
    any = any || t.defined();
    std::size_t const begin = all.size();
    all.resize(begin + as_size(map.width()), otherwise);
    if (!t.defined()) continue;
    at::Tensor const numbers = t.to(at::kFloat).contiguous().view(-1);
    std::copy_n(numbers.const_data_ptr<float>(), numbers.numel(), all.begin() + static_cast<std::ptrdiff_t>(begin));
  }
  if (!any) all.clear();
  return all;
}

at::Tensor bias_of(linear_map const& map) { return map.bias; }
at::Tensor factor_of(linear_map const& map) { return map.magnitude.defined() ? at::div(ops::wide(map.magnitude), map.length) : at::Tensor(); }

// Factors of all maps as those of one: A below each other, B along a diagonal, times its scale.
std::pair<at::Tensor, at::Tensor> joined_factors(std::vector<linear_map> const& maps) {
  std::vector<at::Tensor> a;
  std::int64_t rank = 0, width = 0;
  for (linear_map const& map : maps) {
    width += map.width();
    if (!map.a.defined()) continue;
    bool const again = !a.empty() && a.back().is_same(map.a);  // parts of one stored map
    if (!again) a.push_back(map.a);
    if (!again) rank += map.a.size(0);
  }
  if (a.empty()) return {};
  at::Tensor const b = at::zeros({width, rank}, at::kFloat);
  std::int64_t row = 0, column = 0;
  at::Tensor last;
  for (linear_map const& map : maps) {
    if (map.a.defined()) {
      bool const again = last.defined() && last.is_same(map.a);
      if (again) column -= map.a.size(0);
      b.narrow(0, row, map.width()).narrow(1, column, map.a.size(0)).copy_(at::mul(ops::wide(map.b), map.scale));
      column += map.a.size(0);
      last = map.a;
    }
    row += map.width();
  }
  return {at::cat(a), b};
}

packed_map map_of(std::vector<linear_map> const& maps) {
  packed_map out;
  std::vector<packed_matrix::row_source> sources;
  for (linear_map const& map : maps) sources.push_back(rows_of(map));
  std::vector<float> bias = joined(maps, bias_of, 0);
  out.factors = joined(maps, factor_of, 1);
  if (!out.factors.empty()) out.bias.swap(bias);
  out.weight = packed_matrix::of_rows(std::move(sources), std::move(bias));
  auto const [a, b] = joined_factors(maps);
  if (!a.defined()) return out;
  out.a = packed_matrix::of_rows({rows_of(a)}, {});
  out.b = packed_matrix::of_rows({rows_of(b)}, {});
  return out;
}

packed_layer layer_of(transformer_config const& c, layer_tensors const& t) {
  packed_layer p = norms_of(c, t);
  p.qkv = map_of({t.q, t.k, t.v});
  p.o = map_of({t.o});
  packed_mlp mlp;
  mlp.up = c.gated ? map_of({t.gate, t.up}) : map_of({t.up});
  mlp.down = map_of({t.down});
  p.mlps.push_back(std::move(mlp));
  return p;
}

}  // namespace

void packed_model::by_rows(causal_lm const& model, pack const& weights) {
  transformer_config const& c = model.config();
  model_tensors const tensors = model_tensors::weights(model, weights);
  stays_quantised = true;
  for (std::int64_t i = 0; i < c.layers; ++i) layers.push_back(layer_of(c, tensors.layer(i)));
  head = map_of({tensors.head()});
  final_norm = norm_of(c, tensors.final_norm());
  linear_map const of_tokens = tensors.embedding();
  if (of_tokens.plain() && of_tokens.stored.defined())
    stored_embedding = of_tokens.stored;
  else
    embedding = tensors.merged(tensors.at().embedding()).to(model.settings().type).contiguous();
  auto const see = [&](packed_map const& map) { most_rank = std::max(most_rank, map.a.outputs()); };
  for (packed_layer const& l : layers)
    for (packed_map const* const map : {&l.qkv, &l.o, &l.mlps.front().up, &l.mlps.front().down}) see(*map);
  see(head);
}

}  // namespace kedge::llm
