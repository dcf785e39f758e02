// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "llm/kernels/support.hpp"

using namespace kedge;
using namespace kedge::testing;
using llm::kernel_table;

namespace {

// Numbers this small may be 0: e^−x overflows before its inverse underflows.
constexpr double tiny = 2e-36;

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
      table.gates.swiglu(gate.data(), up.data(), n, out.data());
      CHECK(first_difference(out.span(), outputs(gate.span(), up.span())) == "");
      table.gates.swiglu_backward(g.data(), gate.data(), up.data(), n, to_gate.data(), to_up.data());
      both const expected = gradients(g.span(), gate.span(), up.span());
      CHECK(first_difference(to_gate.span(), expected.gate) == "");
      CHECK(first_difference(to_up.span(), expected.up) == "");
      CHECK((out.kept_its_ends() && to_gate.kept_its_ends() && to_up.kept_its_ends()));
    }
  });
}

TEST_CASE("a gate far from zero is open or closed, and numbers that are none come out where the formula has them", "[kernels]") {
  std::vector<float> gate, up;
  for (float const z : {not_a_number, infinity, -infinity, 0.0F, -0.0F, 1e-30F, -1e-30F, 1e-42F,
                        80.0F, -80.0F, 88.5F, -88.5F, 89.5F, -89.5F, 103.5F, -103.5F, 1e4F, -1e4F, 3e38F, -3e38F})
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
      table.gates.swiglu(z.data(), u.data(), z.size(), out.data());
      CHECK(first_difference(out.span(), outputs(z, u)) == "");
      table.gates.swiglu_backward(one.data(), z.data(), u.data(), z.size(), to_gate.data(), to_up.data());
      both const expected = gradients(one, z, u);
      CHECK(first_difference(to_gate.span(), expected.gate) == "");
      CHECK(first_difference(to_up.span(), expected.up) == "");
    }
  });
}
