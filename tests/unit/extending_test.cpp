// SPDX-License-Identifier: Apache-2.0
// The examples of docs/extending.md, compiled and run. What stands between `// shown` and `// end` is on that page, letter by letter.
#include <array>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>

#include <kedge/kedge.hpp>

#include "support/catch.hpp"

using kedge::testing::contains;
using kedge::testing::WithinAbs;

// shown
namespace kedge {

/// Squared hinge: max(0, m − z)², z = βh, m = target.                                            Tang et al. 2024
struct squared_hinge {
  double beta = 0.1;
  double target = 1;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true;
  static constexpr auto parameters = std::tuple{
      detail::beta_parameter(&squared_hinge::beta),
      parameter<squared_hinge>{"hinge_target", &squared_hinge::target, 0, unbounded, "margin to reach, in units of 1/beta"}};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const missing = detail::positive_part(target - beta * pair.margin());
    return detail::of_margin(missing * missing, -2 * beta * missing);
  }
};

}  // namespace kedge
// end

// shown
struct dial {  // a point of two angles
  std::array<double, 2> angle;
};

template <>
struct kedge::tensor_traits<dial> {
  static dial deep_copy(dial const& x) { return x; }
  static void axpby(double a, dial const& x, double b, dial& y) {
    for (std::size_t i = 0; i < 2; ++i) y.angle[i] = a * x.angle[i] + (b == 0 ? 0 : b * y.angle[i]);
  }
  static double dot(dial const& x, dial const& y) { return x.angle[0] * y.angle[0] + x.angle[1] * y.angle[1]; }
  template <class F, class... Others>
  static void elementwise(F const& f, dial& y, Others const&... x) {  // for Adam alone
    for (std::size_t i = 0; i < 2; ++i) y.angle[i] = f(y.angle[i], x.angle[i]...);
  }
};
static_assert(kedge::tensor<dial> && kedge::elementwise_tensor<dial>);
// end

// shown
struct question {  // which of the two answers was preferred, how often
  int preferred, times;
};

struct coin {  // log π(answer 0) = log σ(angle 0)
  auto forward(dial const& theta, std::vector<question> const& batch) const {
    double const p[] = {1 / (1 + std::exp(-theta.angle[0])), 1 / (1 + std::exp(theta.angle[0]))};
    kedge::pair_log_probs logp;
    for (question const& q : batch)
      for (int i = 0; i < q.times; ++i) {
        logp.chosen.push_back(std::log(p[q.preferred]));
        logp.rejected.push_back(std::log(p[1 - q.preferred]));
      }
    auto pullback = [&batch, p0 = p[0]](kedge::pair_log_probs const& slope, dial& gradient) {
      std::size_t row = 0;
      for (question const& q : batch)
        for (int i = 0; i < q.times; ++i, ++row) {
          double const of_zero = q.preferred == 0 ? slope.chosen[row] : slope.rejected[row];
          double const of_one = q.preferred == 0 ? slope.rejected[row] : slope.chosen[row];
          gradient.angle[0] += of_zero * (1 - p0) - of_one * p0;
        }
    };
    return kedge::forward_result{logp, pullback};
  }
};
// end

namespace {

std::string read(std::string const& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("docs/extending.md shows the code that is compiled here", "[extending]") {
  std::string const page = read(KEDGE_PROJECT_DIR "/docs/extending.md"),
                    source = read(KEDGE_TESTS_DIR "/unit/extending_test.cpp");
  std::size_t shown = 0;
  for (std::size_t at = source.find("\n// shown\n"); at != std::string::npos; at = source.find("\n// shown\n", at)) {
    at += 10;
    CHECK_THAT(page, contains(source.substr(at, source.find("// end\n", at) - at)));
    ++shown;
  }
  CHECK(shown == 3);
}

TEST_CASE("the example's loss is checked and computed like any other", "[extending]") {
  kedge::pair_log_probs const logp{{-9}, {-12}}, reference{{-10}, {-11}};  // margin 2
  auto const found = kedge::preference_loss(kedge::squared_hinge{}, {logp, reference});
  CHECK_THAT(found.value, WithinAbs(0.64, 1e-15));
  CHECK_THAT(found.cotangent.chosen[0], WithinAbs(-2 * 0.1 * 0.8, 1e-15));
  CHECK_THROWS_WITH(kedge::preference_loss(kedge::squared_hinge{.target = -1}, {logp, reference}),
                    "hinge_target = -1; it must be at least 0");
}

TEST_CASE("the example's policy learns three votes to one, on a tensor of its own", "[extending]") {
  auto const learned = [](auto const& optimizer) {
    kedge::policy_problem const problem{coin{}, kedge::dpo{.beta = 1}, optimizer, std::vector<question>{{0, 3}, {1, 1}}, 2000};
    kedge::state<dial, kedge::pair_log_probs> state(dial{{0.5, 7}});
    REQUIRE(kedge::run(state, kedge::hand_off{}, problem, 1) == kedge::status::done);
    CHECK(state.theta.angle[1] == 7);
    return state.theta.angle[0];
  };
  CHECK_THAT(learned(kedge::sgd{.rate = 1}), WithinAbs(0.5 + std::log(3.0), 1e-9));
  CHECK_THAT(learned(kedge::adam{.rate = 0.05}), WithinAbs(0.5 + std::log(3.0), 1e-6));
}
