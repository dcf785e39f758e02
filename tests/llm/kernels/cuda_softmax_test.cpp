// SPDX-License-Identifier: Apache-2.0

// The head's distributions by the kernel of a GPU, whose body runs here, against fp64.

#include <algorithm>
#include <cmath>

#include "llm/kernels/cuda_support.hpp"

using namespace kedge;
using namespace kedge::testing;
using llm::gpu_kernel_table;
using llm::gpu_number;

namespace {

double wide(float x) { return static_cast<double>(x); }

struct rows_of_scores {
  std::size_t rows, n;
  std::vector<float> scores, slopes;
  std::vector<std::int64_t> targets;
  float smoothing = 0;

  rows_of_scores(std::size_t count, std::size_t vocabulary, random_numbers& random)
      : rows(count), n(vocabulary), scores(random(count * vocabulary, 3)), slopes(random(count)) {
    for (std::size_t r = 0; r < rows; ++r) targets.push_back(static_cast<std::int64_t>((r * 7 + vocabulary / 2) % vocabulary));
  }
  [[nodiscard]] std::size_t target(std::size_t r) const { return static_cast<std::size_t>(targets[r]); }
  [[nodiscard]] float* row(std::size_t r) { return scores.data() + r * n; }
  [[nodiscard]] double score(std::size_t r, std::size_t i) const { return wide(scores[r * n + i]); }
};

// As the formulas have them.
struct figures {
  double log_sum, logp, entropy, mean, likeliest, square_sum, most;
  double others;  // Σ p but the target's
};
figures of_row(rows_of_scores const& all, std::size_t r) {
  figures f{};
  std::size_t first = 0;
  double total = 0, others = 0, weighted = 0, squares = 0;
  for (std::size_t i = 0; i < all.n; ++i)
    if (all.score(r, i) > all.score(r, first)) first = i;
  f.most = all.score(r, first);
  for (std::size_t i = 0; i < all.n; ++i) {
    double const x = all.score(r, i), y = std::exp(x - f.most);
    total += y;
    squares += y * y;
    weighted += y == 0 ? 0 : y * (x - f.most);
    f.mean += x / static_cast<double>(all.n);
    if (i != all.target(r)) others += y;
  }
  f.log_sum = f.most + std::log(total);
  f.logp = all.score(r, all.target(r)) - f.log_sum;
  f.entropy = std::log(total) - weighted / total;
  f.likeliest = first == all.target(r) ? 1 : 0;
  f.square_sum = squares / (total * total);
  f.others = others / total;
  return f;
}

// c (p − (1 − ε) onehot − ε/V); p − 1 of the target is what the others have.
double residual_at(rows_of_scores const& all, figures const& f, std::size_t r, std::size_t i, bool with_slopes) {
  double const c = with_slopes ? wide(all.slopes[r]) : 1, epsilon = wide(all.smoothing), share = epsilon / static_cast<double>(all.n);
  return c * (i == all.target(r) ? epsilon - f.others - share : std::exp(all.score(r, i) - f.log_sum) - share);
}

enum class place { none, own, narrow_in_place, wide_in_place };
struct run_of {
  place where;
  gpu_number type = gpu_number::bf16;
  bool with_slopes = true, with_figures = true;
  layout l = layouts[0];
};

struct outcome {
  std::vector<float> log_sum, logp, entropy, mean, likeliest, square_sum, residual;
};

outcome compute(gpu_kernel_table const& table, rows_of_scores const& all, run_of const& run) {
  floats scores(all.scores, run.l.shift);
  matrix residual(run.type, all.rows, all.n, run.l.gap, run.l.shift);
  std::size_t const shift = run.l.shift;
  floats log_sum(all.rows, shift), logp(all.rows, shift), entropy(all.rows, shift), mean(all.rows, shift), likeliest(all.rows, shift), squares(all.rows, shift);
  llm::gpu_matrix const places[] = {{},
                                    residual.view(),
                                    {scores.data(), gpu_number::bf16, 2 * static_cast<std::int64_t>(all.n)},
                                    {scores.data(), gpu_number::fp32, static_cast<std::int64_t>(all.n)}};
  table.softmax(nullptr, {.rows = static_cast<std::int64_t>(all.rows),
                          .vocabulary = static_cast<std::int64_t>(all.n),
                          .scores = scores.data(),
                          .targets = all.targets.data(),
                          .smoothing = all.smoothing,
                          .log_sum = log_sum.data(),
                          .logp = logp.data(),
                          .residual = places[static_cast<std::size_t>(run.where)],
                          .slopes = run.with_slopes ? all.slopes.data() : nullptr,
                          .entropy = run.with_figures ? entropy.data() : nullptr,
                          .mean = run.with_figures ? mean.data() : nullptr,
                          .likeliest = run.with_figures ? likeliest.data() : nullptr,
                          .square_sum = run.with_figures ? squares.data() : nullptr});
  CHECK((scores.kept_its_ends() && residual.kept_its_ends()));
  for (floats const* const x : {&log_sum, &logp, &entropy, &mean, &likeliest, &squares}) CHECK(x->kept_its_ends());
  auto const all_of = [](floats const& x) { return std::vector<float>(x.span().begin(), x.span().end()); };
  outcome to{all_of(log_sum), all_of(logp), all_of(entropy), all_of(mean), all_of(likeliest), all_of(squares), {}};
  if (run.where == place::none) CHECK(same_bits(scores.span(), all.scores));
  if (run.where == place::own) to.residual = residual.values();
  if (run.where == place::wide_in_place) to.residual = all_of(scores);
  if (run.where == place::narrow_in_place)
    for (std::size_t r = 0; r < all.rows; ++r)
      for (std::size_t i = 0; i < all.n; ++i) {
        std::uint16_t bits = 0;
        std::memcpy(&bits, reinterpret_cast<char const*>(scores.data() + r * all.n) + i * sizeof bits, sizeof bits);
        to.residual.push_back(from_bf16(bits));
      }
  return to;
}

void check(gpu_kernel_table const& table, rows_of_scores const& all, run_of const& run) {
  outcome const y = compute(table, all, run);
  bool const narrow = run.where == place::narrow_in_place || (run.where == place::own && run.type == gpu_number::bf16);
  std::vector<exact> log_sum, logp, entropy, mean, likeliest, squares, residual;
  for (std::size_t r = 0; r < all.rows; ++r) {
    figures const f = of_row(all, r);
    log_sum.push_back({f.log_sum, 3e-7 * (std::abs(f.log_sum) + std::abs(f.most) + 1)});
    logp.push_back({f.logp, 3e-7 * std::abs(f.logp) + (f.likeliest > 0 ? 1e-6 * std::abs(f.logp) : 1e-6)});
    entropy.push_back({f.entropy, 1e-5 * (f.entropy + 0.1)});
    mean.push_back({f.mean, 1e-5});
    likeliest.push_back({f.likeliest, 0});
    squares.push_back({f.square_sum, 1e-5 * f.square_sum});
    for (std::size_t i = 0; i < all.n; ++i) {
      double const g = residual_at(all, f, r, i, run.with_slopes), size = std::abs(g) + (all.smoothing > 0 ? 0.1 : 0) / static_cast<double>(all.n);
      residual.push_back({g, std::abs(g) * (narrow ? 1.0 / 256 : 0) + 6e-6 * size});
    }
  }
  CHECK(first_difference(y.log_sum, log_sum) == "");
  CHECK(first_difference(y.logp, logp) == "");
  if (run.with_figures) {
    CHECK(first_difference(y.entropy, entropy) == "");
    CHECK(first_difference(y.mean, mean) == "");
    CHECK(first_difference(y.likeliest, likeliest) == "");
    CHECK(first_difference(y.square_sum, squares) == "");
  }
  if (run.where != place::none) CHECK(first_difference(y.residual, residual) == "");
}

}  // namespace

TEST_CASE("distributions and residuals of a GPU are those of fp64, in a place of their own and in that of the scores", "[kernels][gpu]") {
  each_gpu_table([](gpu_kernel_table const& table, int) {
    random_numbers random(1);
    for (std::size_t const n : {1U, 2U, 3U, 7U, 8U, 31U, 32U, 33U, 67U, 576U})
      for (float const smoothing : {0.0F, 0.1F}) {
        INFO("vocabulary " << n << " smoothing " << smoothing);
        rows_of_scores all(3, n, random);
        all.smoothing = smoothing;
        check(table, all, {.where = place::none, .with_figures = n % 2 == 0});
        check(table, all, {.where = place::narrow_in_place, .with_figures = n % 2 == 1});
        check(table, all, {.where = place::wide_in_place, .with_slopes = false});
        for (gpu_number const type : number_types)
          for (layout const l : layouts) check(table, all, {.where = place::own, .type = type, .with_figures = l.gap == 0, .l = l});
      }
    rows_of_scores large(2, 49152, random), odd(2, 50257, random), none(0, 64, random);
    check(table, large, {.where = place::narrow_in_place});
    check(table, odd, {.where = place::narrow_in_place});
    check(table, none, {.where = place::narrow_in_place});
  });
}

TEST_CASE("what a confident token lacks is within half a percent in bf16 on a GPU", "[kernels][gpu]") {
  each_gpu_table([](gpu_kernel_table const& table, int) {
    random_numbers random(2);
    std::vector<double> const shares{0.9, 0.99, 0.999, 0.99999, 1 - 1e-7, 1 - 1e-9};
    for (float const shift : {0.0F, 20.0F, -50.0F}) {
      rows_of_scores all(shares.size(), 1000, random);
      std::fill(all.slopes.begin(), all.slopes.end(), -0.37F);
      for (std::size_t r = 0; r < all.rows; ++r) {
        double others = 0;
        for (std::size_t i = 0; i < all.n; ++i) {
          all.row(r)[i] += shift;
          if (i != all.target(r)) others += std::exp(wide(all.row(r)[i]));
        }
        all.row(r)[all.target(r)] = static_cast<float>(std::log(others * shares[r] / (1 - shares[r])));
      }
      for (place const where : {place::own, place::narrow_in_place}) {
        outcome const y = compute(table, all, {.where = where});
        for (std::size_t r = 0; r < all.rows; ++r) {
          INFO("p = " << shares[r]);
          figures const f = of_row(all, r);
          double const expected = residual_at(all, f, r, all.target(r), true), computed = wide(y.residual[r * all.n + all.target(r)]);
          CHECK(std::abs(computed - expected) <= 0.005 * std::abs(expected));
          CHECK(std::abs(wide(y.logp[r]) - f.logp) <= 1e-5 * std::abs(f.logp));
        }
      }
    }
  });
}

TEST_CASE("the likeliest token of a GPU is the first of those that are equal", "[kernels][gpu]") {
  each_gpu_table([](gpu_kernel_table const& table, int) {
    random_numbers random(3);
    for (std::size_t const n : {8U, 33U, 600U}) {
      rows_of_scores all(2, n, random);
      for (std::size_t r = 0; r < 2; ++r) {
        all.row(r)[n / 3] = all.row(r)[n - 2] = 20;
        all.targets[r] = static_cast<std::int64_t>(r == 0 ? n / 3 : n - 2);
      }
      outcome const y = compute(table, all, {.where = place::none});
      CHECK((y.likeliest[0] == 1 && y.likeliest[1] == 0));
    }
  });
}

TEST_CASE("scores of minus infinity have no share on a GPU, and infinity and NaN spoil their row and no other", "[kernels][gpu]") {
  each_gpu_table([](gpu_kernel_table const& table, int) {
    random_numbers random(4);
    for (std::size_t const n : {2U, 16U, 33U, 300U})
      for (place const where : {place::own, place::narrow_in_place}) {
        INFO("vocabulary " << n);
        rows_of_scores masked(2, n, random);
        for (std::size_t i = 0; i < n; ++i)
          if (i != masked.target(0)) masked.row(0)[i] = -infinity;
        outcome const one = compute(table, masked, {.where = where, .with_figures = true});
        CHECK((one.logp[0] == 0 && one.log_sum[0] == masked.row(0)[masked.target(0)] && one.entropy[0] == 0 && one.square_sum[0] == 1));
        CHECK(std::all_of(one.residual.begin(), one.residual.begin() + static_cast<std::ptrdiff_t>(n), [](float x) { return x == 0; }));
        masked = rows_of_scores(2, n, random);
        masked.row(0)[(masked.target(0) + 1) % n] = -infinity;
        masked.row(1)[masked.target(1)] = -infinity;
        outcome const lacking = compute(table, masked, {.where = where, .with_slopes = false});
        CHECK(lacking.residual[(masked.target(0) + 1) % n] == 0);
        CHECK((lacking.logp[1] == -infinity && lacking.residual[n + masked.target(1)] == -1));
        CHECK(all_finite(lacking.entropy));
        for (float const bad : {not_a_number, infinity})
          for (std::size_t const at : {std::size_t{0}, n / 2, n - 1}) {
            rows_of_scores all(3, n, random);
            all.row(1)[at] = bad;
            outcome const y = compute(table, all, {.where = where});
            CHECK(all_nan(std::span(y.residual).subspan(n, n)));
            CHECK((std::isnan(y.logp[1]) && std::isnan(y.entropy[1])));
            CHECK((all_finite(std::span(y.residual).first(n)) && all_finite(std::span(y.residual).last(n)) && std::isfinite(y.logp[0]) && std::isfinite(y.logp[2])));
          }
        rows_of_scores nothing(1, n, random);
        std::fill(nothing.scores.begin(), nothing.scores.end(), -infinity);
        CHECK(all_nan(compute(table, nothing, {.where = where}).residual));
      }
  });
}
