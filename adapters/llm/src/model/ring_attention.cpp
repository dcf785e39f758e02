// SPDX-License-Identifier: Apache-2.0
#include "ring_attention.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace kedge::llm::ops {
namespace {

// Queries and keys of a tile: so many of a chunk each, from here.
struct tile {
  std::int64_t query, queries, key, keys;  // places among the own tokens, and among those of the block
  std::int64_t ahead;                      // position of the first query less that of the first key
};

constexpr std::int64_t tile_queries = 128, tile_keys = 512;
enum channel { of_keys, of_gradients };

std::size_t as_size(std::int64_t n) { return static_cast<std::size_t>(n); }

// f(tile) for what queries of a chunk see of keys of another, which end before position `end`.
template <class F>
void each_tile(context_chunk const& q, context_chunk const& k, std::int64_t end, std::int64_t window, F const& f) {
  for (std::int64_t i = 0; i < q.size; i += tile_queries) {
    std::int64_t const queries = std::min(tile_queries, q.size - i), at = q.position + i;
    std::int64_t const first = window > 0 ? std::max(k.position, at - window + 1) : k.position;
    std::int64_t const last = std::min({k.position + k.size, end, at + queries});
    for (std::int64_t key = first; key < last; key += tile_keys)
      f(tile{q.place + i, queries, k.place + key - k.position, std::min(tile_keys, last - key), at - key});
  }
}

// Own queries, and a block of keys: [kv_heads, share, T, d] and [kv_heads, T, d], wide. Query heads that share keys are one product.
at::Tensor by_group(at::Tensor const& x, std::int64_t kv_heads) {
  return wide(x).view({x.size(0), kv_heads, x.size(1) / kv_heads, x.size(2)}).permute({1, 2, 0, 3}).contiguous();
}
at::Tensor from_group(at::Tensor const& x, at::Tensor const& like) {
  return x.permute({2, 0, 1, 3}).reshape(like.sizes()).contiguous().to(like.scalar_type());
}

// What passes of a tile are made of.
class tiles {
 public:
  tiles(ring_segments const& of, attention_settings const& settings) : of_(of), settings_(settings) {}

  template <class F>
  void each(int owner, F const& f) const {
    for (context_chunk const& q : of_.division.own())
      for (seen_stretch const& seen : of_.division.sees[q.stretch])
        for (context_chunk const& k : of_.division.chunks[static_cast<std::size_t>(owner)])
          if (k.stretch == seen.stretch) each_tile(q, k, seen.end, settings_.window, f);
  }

  // rows of queries [kv_heads, share · n, …]
  static at::Tensor rows(at::Tensor const& x, tile const& t) {
    return x.narrow(2, t.query, t.queries).reshape({x.size(0), x.size(1) * t.queries, x.size(3)});
  }
  static void add_rows(at::Tensor const& x, tile const& t, at::Tensor const& y) {
    x.narrow(2, t.query, t.queries).add_(y.view({x.size(0), x.size(1), t.queries, x.size(3)}));
  }

  // Capped scores; keys that a query doesn't see count as they are.
  [[nodiscard]] at::Tensor scores(at::Tensor const& q, at::Tensor const& k) const {
    at::Tensor s = at::bmm(q, k.transpose(1, 2)).mul_(settings_.scale);
    return soft_cap_(s, settings_.soft_cap);
  }
  // -inf in their places.
  void hide_(at::Tensor& s, tile const& t) const {
    bool const future = t.ahead < t.keys - 1, past = settings_.window > 0 && t.ahead + t.queries - settings_.window > 0;
    if (!future && !past) return;
    at::Tensor const back = at::arange(t.queries, at::kLong)
                                .unsqueeze(1)
                                .sub(at::arange(t.keys, at::kLong))
                                .add_(t.ahead);  // positions that a key lies back
    at::Tensor hidden = back.lt(0);
    if (settings_.window > 0) hidden.logical_or_(back.ge(settings_.window));
    s.view({s.size(0), -1, t.queries, t.keys}).masked_fill_(hidden, -INFINITY);
  }

 private:
  ring_segments const& of_;
  attention_settings const& settings_;
};

// Keys and values on their way round: [2, T, kv_heads, d].
class travelling_keys {
 public:
  travelling_keys(ring_segments const& of, at::Tensor const& k, at::Tensor const& v)
      : of_(of), here_(at::stack({k, v})), owner_(of.ring.rank()) {}

  [[nodiscard]] int owner() const { return owner_; }
  [[nodiscard]] at::Tensor const& here() const { return here_; }
  [[nodiscard]] at::Tensor part(std::int64_t i) const { return wide(here_.select(0, i)).transpose(0, 1).contiguous(); }

  // Before what is done with the block that is here: the next one comes meanwhile.
  void begin() {
    if (++seen_ == of_.ring.size()) return;
    std::vector<std::int64_t> sizes = here_.sizes().vec();
    sizes[1] = of_.division.tokens[as_size(before(owner_))];
    next_ = at::empty(sizes, here_.options());
    sent_ = of_.ring.begin_send(here_, of_keys);
    received_ = of_.ring.begin_receive(next_, of_keys);
  }
  // returns  false where that was the last block
  bool go_on() {
    if (seen_ == of_.ring.size()) return false;
    received_();
    sent_();
    here_ = std::exchange(next_, {});
    owner_ = before(owner_);
    return true;
  }

 private:
  [[nodiscard]] int before(int rank) const { return (rank + of_.ring.size() - 1) % of_.ring.size(); }

  ring_segments const& of_;
  at::Tensor here_, next_;
  int owner_, seen_ = 0;
  context_ring::pending sent_, received_;
};

}  // namespace

at::Tensor ring_attention(ring_segments const& of, attention_settings const& settings, at::Tensor const& q, at::Tensor const& k,
                          at::Tensor const& v, at::Tensor& log_sums) {
  constexpr double least = -1e30;  // of a running maximum, which is finite
  tiles const all(of, settings);
  at::Tensor const queries = by_group(q, k.size(1)), output = at::zeros_like(queries);
  std::vector<std::int64_t> const sizes{queries.size(0), queries.size(1), queries.size(2), 1};
  at::Tensor const most = at::full(sizes, least, queries.options()), sums = at::zeros(sizes, queries.options());
  travelling_keys block(of, k, v);
  do {
    block.begin();
    at::Tensor const keys = block.part(0), values = block.part(1);
    all.each(block.owner(), [&](tile const& t) {
      at::Tensor s = all.scores(tiles::rows(queries, t), keys.narrow(1, t.key, t.keys));
      all.hide_(s, t);
      auto const own = [&](at::Tensor const& x) { return x.narrow(2, t.query, t.queries); };
      at::Tensor const before = tiles::rows(most, t), now = at::maximum(before, s.amax(-1, /*keepdim=*/true));
      at::Tensor const p = s.sub_(now).exp_(), shrinks = at::sub(before, now).exp_().view(own(most).sizes());
      own(output).mul_(shrinks);
      own(sums).mul_(shrinks);
      tiles::add_rows(output, t, at::bmm(p, values.narrow(1, t.key, t.keys)));
      tiles::add_rows(sums, t, p.sum(-1, /*keepdim=*/true));
      own(most).copy_(now.view(own(most).sizes()));
    });
  } while (block.go_on());
  output.div_(sums);
  log_sums = at::add(most, sums.log()).view({q.size(1), q.size(0)});
  return from_group(output, q);
}

namespace {

// The backward step of tiles. With p = exp(s − log Σ): ∂s = p (g vᵀ − g · o), through the cap and times the scale.
struct tile_gradients {
  tiles const& all;
  attention_settings const& settings;
  at::Tensor queries, slopes, inner, log_sum, to_queries;

  void add(tile const& t, at::Tensor const& keys, at::Tensor const& values, at::Tensor const& to_keys,
           at::Tensor const& to_values) const {
    auto const part = [&](at::Tensor const& x) { return x.narrow(1, t.key, t.keys); };
    at::Tensor const rows = tiles::rows(queries, t), of_rows = tiles::rows(slopes, t);
    at::Tensor const capped = all.scores(rows, part(keys));
    at::Tensor p = settings.soft_cap == 0 ? capped : capped.clone();
    all.hide_(p, t);
    p.sub_(tiles::rows(log_sum, t)).exp_();
    at::Tensor ds = at::bmm(of_rows, part(values).transpose(1, 2)).sub_(tiles::rows(inner, t)).mul_(p).mul_(settings.scale);
    ds = soft_cap_backward_(ds, capped, settings.soft_cap);
    tiles::add_rows(to_queries, t, at::bmm(ds, part(keys)));
    part(to_keys).add_(at::bmm(ds.transpose(1, 2), rows));
    part(to_values).add_(at::bmm(p.transpose(1, 2), of_rows));
  }
};

// Gradients of the block that is here, on their way after it: [2, kv_heads, T, d].
class travelling_gradients {
 public:
  travelling_gradients(ring_segments const& of, at::Tensor const& like) : of_(of), like_(like) {}

  [[nodiscard]] at::Tensor zeros(int owner) const { return empty(owner).zero_(); }
  // What those before have found of the owner's block joins what was found here, and goes on.
  void pass_on(int owner, at::Tensor const& found) {
    if (owner != of_.ring.rank()) found.add_(received(owner));
    sent_();
    sent_ = of_.ring.begin_send(leaving_ = found, of_gradients);
  }
  [[nodiscard]] at::Tensor come_home() {
    at::Tensor const home = received(of_.ring.rank());
    sent_();
    return home;
  }

 private:
  [[nodiscard]] at::Tensor empty(int owner) const {
    return at::empty({2, like_.size(0), of_.division.tokens[static_cast<std::size_t>(owner)], like_.size(3)}, like_.options());
  }
  [[nodiscard]] at::Tensor received(int owner) const {
    at::Tensor const all = empty(owner);
    of_.ring.begin_receive(all, of_gradients)();
    return all;
  }

  ring_segments const& of_;
  at::Tensor like_, leaving_;
  context_ring::pending sent_ = [] {};
};

}  // namespace

shared_prompt_attention::gradients ring_attention_backward(ring_segments const& of, attention_settings const& settings,
                                                           at::Tensor const& g, at::Tensor const& q, at::Tensor const& k,
                                                           at::Tensor const& v, at::Tensor const& output,
                                                           at::Tensor const& log_sums) {
  tiles const all(of, settings);
  std::int64_t const kv_heads = k.size(1);
  at::Tensor const queries = by_group(q, kv_heads), slopes = by_group(g, kv_heads);
  at::Tensor const inner = at::mul(slopes, by_group(output, kv_heads)).sum(-1, /*keepdim=*/true);
  tile_gradients const each{all, settings, queries, slopes, inner, log_sums.view(inner.sizes()), at::zeros_like(queries)};
  travelling_keys block(of, k, v);
  travelling_gradients gradients(of, queries);
  do {
    block.begin();
    at::Tensor const keys = block.part(0), values = block.part(1), found = gradients.zeros(block.owner());
    all.each(block.owner(), [&](tile const& t) { each.add(t, keys, values, found[0], found[1]); });
    gradients.pass_on(block.owner(), found);
  } while (block.go_on());
  at::Tensor const home = gradients.come_home();
  auto const by_token = [&](std::int64_t i, at::Tensor const& like) {
    return home[i].transpose(0, 1).contiguous().to(like.scalar_type());
  };
  return {from_group(each.to_queries, q), by_token(0, k), by_token(1, v), {}};
}

}  // namespace kedge::llm::ops
