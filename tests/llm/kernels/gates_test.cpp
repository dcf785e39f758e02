// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "llm/kernels/support.hpp"

using namespace kedge;
using namespace kedge::testing;
using llm::gate_function;
using llm::kernel_table;

namespace {

// Numbers this small may be 0: e^−x overflows before its inverse underflows.
constexpr double tiny = 2e-36;

constexpr gate_function functions[] = {gate_function::silu, gate_function::gelu, gate_function::gelu_tanh,
                                       gate_function::relu2};

double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

exact swiglu(double gate, double up) {
  double const y = gate * sigmoid(gate) * up;
  return {y, 5e-7 * std::abs(y) + tiny * std::abs(up)};
}
exact gate_gradient(double g, double gate, double up) {
  double const s = sigmoid(gate), slope = s * (1 + gate * (1 - s));
  // Terms of the slope may cancel, and 1 − s is rounded where s is near 1.
  double const terms = 1 + std::abs(gate) * (1 - s) + std::min(std::abs(gate), 20.0);
  return {g * up * slope, (3e-7 * s * terms + tiny) * std::abs(g * up)};
}

// The functions and their slopes by their definitions, with the standard library's erfc, exp and tanh.
double value(gate_function f, double x) {
  double const root = std::sqrt(2 / std::acos(-1.0));
  switch (f) {
    case gate_function::silu:
      return x * sigmoid(x);
    case gate_function::gelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case gate_function::gelu_tanh:
      return x / (1 + std::exp(-2 * root * (x + 0.044715 * x * x * x)));  // x (1 + tanh) / 2 would cancel in fp64 too
    default:
      return std::isnan(x) ? x : std::max(0.0, x) * std::max(0.0, x);
  }
}
double slope(gate_function f, double x) {
  double const root = std::sqrt(2 / std::acos(-1.0)), t = std::tanh(root * (x + 0.044715 * x * x * x));
  switch (f) {
    case gate_function::silu:
      return sigmoid(x) * (1 + x * (1 - sigmoid(x)));
    case gate_function::gelu:
      return 0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-0.5 * x * x) * root / 2;
    case gate_function::gelu_tanh:
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * root * (1 + 3 * 0.044715 * x * x);
    default:
      return std::isnan(x) ? x : 2 * std::max(0.0, x);
  }
}
// Errors of a function grow with the exponent of e within it; tails that are as small as these are no matter.
double slack_of(double x, double y) { return 1e-6 * (1 + 0.3 * x * x) * std::abs(y) + 1e-7 * std::exp(-0.4 * x * x) + tiny; }

struct both {
  std::vector<exact> gate, up;
};
both gradients(std::span<float const> g, std::span<float const> gate, std::span<float const> up) {
  both all;
  for (std::size_t i = 0; i < g.size(); ++i) {
    auto const out = static_cast<double>(g[i]), z = static_cast<double>(gate[i]), u = static_cast<double>(up[i]);
    all.gate.push_back(gate_gradient(out, z, u));
    all.up.push_back(swiglu(z, out));
  }
  return all;
}
std::vector<exact> outputs(std::span<float const> gate, std::span<float const> up) {
  std::vector<exact> all;
  for (std::size_t i = 0; i < gate.size(); ++i) all.push_back(swiglu(static_cast<double>(gate[i]), static_cast<double>(up[i])));
  return all;
}

}  // namespace

TEST_CASE("a gate and its gradients are those of fp64 rounded", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(1);
    for (std::size_t n = 1; n <= 67; ++n) {
      INFO("n = " << n);
      floats const gate(random(n, 5), n % 4), up(random(n), (n + 1) % 4), g(random(n), (n + 2) % 4);
      floats out(n, (n + 3) % 4), to_gate(n, n % 3), to_up(n, n % 2);
      table.gates.gated(gate_function::silu, gate.data(), up.data(), n, out.data());
      CHECK(first_difference(out.span(), outputs(gate.span(), up.span())) == "");
      table.gates.gated_backward(gate_function::silu, g.data(), gate.data(), up.data(), n, to_gate.data(), to_up.data());
      both const expected = gradients(g.span(), gate.span(), up.span());
      CHECK(first_difference(to_gate.span(), expected.gate) == "");
      CHECK(first_difference(to_up.span(), expected.up) == "");
      CHECK((out.kept_its_ends() && to_gate.kept_its_ends() && to_up.kept_its_ends()));
    }
  });
}

TEST_CASE("a gate far from zero is open or closed, and numbers that are none come out where the formula has them",
          "[kernels]") {
  std::vector<float> gate, up;
  for (float const z : {not_a_number, infinity, -infinity, 0.0F,   -0.0F,  1e-30F,  -1e-30F, 1e-42F, 80.0F, -80.0F,
                        88.5F,        -88.5F,   89.5F,     -89.5F, 103.5F, -103.5F, 1e4F,    -1e4F,  3e38F, -3e38F})
    for (float const u : {1.0F, -0.5F, 0.0F, not_a_number, infinity, -infinity}) {
      bool const closed = z < -89 && z > -200;  // a gate that is 0 in fp32 only: times infinity it is no number
      if (closed && std::isinf(u)) continue;
      gate.push_back(z);
      up.push_back(u);
    }
  std::size_t const n = gate.size();
  std::vector<float> const ones(n, 1.0F);
  each_table([&](kernel_table const& table) {
    // Every number in every lane.
    for (std::size_t begin = 0; begin < 16; ++begin) {
      INFO("from number " << begin << " on");
      std::span const z = std::span<float const>(gate).subspan(begin), u = std::span<float const>(up).subspan(begin),
                      one = std::span<float const>(ones).subspan(begin);
      floats out(z.size(), 0), to_gate(z.size(), 0), to_up(z.size(), 0);
      table.gates.gated(gate_function::silu, z.data(), u.data(), z.size(), out.data());
      CHECK(first_difference(out.span(), outputs(z, u)) == "");
      table.gates.gated_backward(gate_function::silu, one.data(), z.data(), u.data(), z.size(), to_gate.data(), to_up.data());
      both const expected = gradients(one, z, u);
      CHECK(first_difference(to_gate.span(), expected.gate) == "");
      CHECK(first_difference(to_up.span(), expected.up) == "");
    }
  });
}

TEST_CASE("every function of a gate and its slope are those of fp64 rounded", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(4);
    for (gate_function const f : functions)
      for (std::size_t n = 1; n <= 67; ++n) {
        INFO("function " << static_cast<int>(f) << ", n = " << n);
        floats const x(random(n, 3), n % 4), up(random(n), (n + 1) % 4), g(random(n), (n + 2) % 4);
        floats out(n, (n + 3) % 4), alone(n, n % 2), to_gate(n, n % 3), to_up(n, n % 2), to_x(n, 1);
        table.gates.gated(f, x.data(), up.data(), n, out.data());
        table.gates.activated(f, x.data(), n, alone.data());
        table.gates.gated_backward(f, g.data(), x.data(), up.data(), n, to_gate.data(), to_up.data());
        table.gates.activated_backward(f, g.data(), x.data(), n, to_x.data());
        std::vector<exact> of_out, of_alone, of_gate, of_up, of_x;
        for (std::size_t i = 0; i < n; ++i) {
          auto const at = static_cast<double>(x[i]), u = static_cast<double>(up[i]), from = static_cast<double>(g[i]);
          double const y = value(f, at), d = slope(f, at), slack = slack_of(at, y),
                       of_slope = slack_of(at, d) + 4e-7 * std::abs(at);
          of_alone.push_back({y, slack});
          of_out.push_back({y * u, slack * std::abs(u)});
          of_up.push_back({y * from, slack * std::abs(from)});
          of_x.push_back({d * from, of_slope * std::abs(from)});
          of_gate.push_back({d * from * u, of_slope * std::abs(from * u)});
        }
        CHECK(first_difference(out.span(), of_out) == "");
        CHECK(first_difference(alone.span(), of_alone) == "");
        CHECK(first_difference(to_gate.span(), of_gate) == "");
        CHECK(first_difference(to_up.span(), of_up) == "");
        CHECK(first_difference(to_x.span(), of_x) == "");
        CHECK((out.kept_its_ends() && alone.kept_its_ends() && to_gate.kept_its_ends() && to_up.kept_its_ends() &&
               to_x.kept_its_ends()));
        // Where a number stands changes none of its bits.
        for (std::size_t i = 0; i < n; ++i) {
          float one = 0;
          table.gates.activated(f, x.data() + i, 1, &one);
          CHECK(same_bits({&one, 1}, alone.span().subspan(i, 1)));
        }
      }
  });
}

TEST_CASE("a function of a gate takes numbers that are none or far as its formula does", "[kernels]") {
  each_table([](kernel_table const& table) {
    for (gate_function const f : functions)
      for (float const x :
           {not_a_number, infinity, -infinity, 0.0F, 1e-30F, -1e-30F, 20.0F, -20.0F, 1e18F, -1e18F, 3e38F, -3e38F}) {
        INFO("function " << static_cast<int>(f) << " of " << x);
        float y = 0;
        table.gates.activated(f, &x, 1, &y);
        double expected = value(f, static_cast<double>(x));
        if (std::abs(expected) > static_cast<double>(std::numeric_limits<float>::max()))
          expected = static_cast<double>(infinity);
        CHECK(close(y, {expected, 1e-6 * std::abs(expected) + 1e-30}));
      }
  });
}

TEST_CASE("a cap is cap tanh of x by cap to the last places for every size of x", "[kernels]") {
  each_table([](kernel_table const& table) {
    random_numbers random(5);
    for (std::size_t n = 1; n <= 67; ++n)
      for (float const cap : {0.5F, 30.0F, 50.0F}) {
        INFO("n = " << n << ", cap " << cap);
        std::vector<float> start = random(n, n % 3 == 0 ? 100.0F : n % 3 == 1 ? 1.0F : 1e-3F);
        start[n / 2] = n % 4 == 0 ? not_a_number : n % 4 == 1 ? infinity : n % 4 == 2 ? -infinity : -0.0F;
        floats x(start, n % 4);
        table.gates.soft_cap(x.data(), n, cap);
        std::vector<exact> expected;
        for (float const v : start) {
          double const y = static_cast<double>(cap) * std::tanh(static_cast<double>(v) / static_cast<double>(cap));
          expected.push_back({y, 4e-7 * std::abs(y)});
        }
        CHECK(first_difference(x.span(), expected) == "");
        CHECK(x.kept_its_ends());
      }
  });
}
