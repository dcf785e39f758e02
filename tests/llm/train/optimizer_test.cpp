// SPDX-License-Identifier: Apache-2.0

// Optimizers by name; AdamW in one pass and in tensor operations, with moments of 32, 16 and 8 bits.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <torch/optim/sgd.h>

#include <kedge/llm/train/optimizer.hpp>
#include <kedge/llm/train/optimizer_choice.hpp>
#include <kedge/llm/train/preference.hpp>

#include "../adapters/llm/src/kernels/kernels.hpp"
#include "../adapters/llm/src/model/gpu_way.hpp"
#include "llm/train/extending/signum.hpp"
#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;

namespace {

// A matrix, a vector, and a matrix whose elements end within a block and a register.
pack parameters_of_some_kinds(at::ScalarType type) {
  at::manual_seed(1);
  return {at::randn({64, 48}).to(type), at::randn({300}).to(type), at::randn({7, 101}).to(type)};
}

pack gradient_of_step(int step, at::ScalarType type) {
  pack g = parameters_of_some_kinds(at::kFloat);
  at::manual_seed(100 + static_cast<std::uint64_t>(step));
  for (at::Tensor& t : g) t = at::randn_like(t).mul_(at::randn_like(t).exp_()).mul_(1e-3).to(type);
  return g;
}

double largest_difference(pack const& a, pack const& b) {
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, (a[i].to(at::kDouble) - b[i].to(at::kDouble)).abs().max().item<double>());
  return most;
}

double mean_difference(pack const& a, pack const& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i].to(at::kDouble) - b[i].to(at::kDouble)).abs().mean().item<double>();
  return sum / static_cast<double>(a.size());
}

// A layout that the one-pass loop doesn't take.
pack transposed(pack const& values) {
  pack other;
  for (at::Tensor const& t : values) other.push_back(t.dim() > 1 ? t.t().contiguous().t() : at::stack({t, t}, 1).select(1, 0));
  return other;
}

// An optimizer with its state.
struct run_of {
  explicit run_of(optimizer_choice which, pack& parameters) : chosen(which), theta(parameters), state(which->init(parameters)) {}
  void step(pack const& gradient, double learning_rate) { chosen->step(settings, state, {.theta = theta, .gradient = gradient, .learning_rate = learning_rate}); }
  pack const& first() const { return state.parts.at(0).values; }
  pack const& second() const { return state.parts.at(1).values; }

  optimizer_choice chosen;
  pack& theta;
  optimizer_state state;
  optimizer_settings settings{.weight_decay = 0.1};
};

// Of the first tensor, whose rows are blocks.
at::Tensor second_moments(run_of const& run) {
  at::Tensor const stored = run.second().front().to(at::kDouble);
  if (run.state.parts.size() == 2) return stored;
  at::Tensor const decade = at::log2(stored + 1).floor(), codes = at::exp2(decade);
  at::Tensor const root = at::pow(10, decade - 7) * (0.1 + (stored + 1 - codes) * 0.9 / codes);
  return (root * run.state.parts.at(3).values.front().to(at::kDouble).unsqueeze(1)).square();
}

pack after_steps(pack theta, optimizer_choice which, int steps, bool plain) {
  if (plain) theta = transposed(theta);
  run_of run(which, theta);
  for (int step = 0; step < steps; ++step) run.step(gradient_of_step(step, theta.front().scalar_type()), 1e-2);
  return theta;
}

optimizer_choice const fp32("adamw_torch_fused"), bf16("adamw_bf16"), bits8("adamw_8bit");

}  // namespace

TEST_CASE("one pass and tensor operations take the steps of fp64 to fp32 rounding", "[optimizer]") {
  pack const exact = after_steps(parameters_of_some_kinds(at::kDouble), fp32, 20, false);
  for (bool const plain : {false, true})
    CHECK(largest_difference(after_steps(parameters_of_some_kinds(at::kFloat), fp32, 20, plain), exact) < 3e-6);
}

TEST_CASE("a step scales its gradient first and leaves it zero and copies what it made", "[optimizer]") {
  for (optimizer_choice const which : {fp32, bf16, bits8, optimizer_choice("sgd"), optimizer_choice(signum)})
    for (bool const plain : {false, true}) {
      pack theta = parameters_of_some_kinds(at::kFloat), other = parameters_of_some_kinds(at::kFloat), copies, gradient, scaled;
      if (plain) {
        theta = transposed(theta);
        other = transposed(other);
      }
      for (at::Tensor const& t : theta) copies.push_back(t.to(at::kBFloat16).contiguous());
      run_of all(which, theta), apart(which, other);
      for (int step = 0; step < 3; ++step) {
        gradient = gradient_of_step(step, at::kFloat);
        scaled = at::_foreach_mul(gradient, 0.25);
        which->step(all.settings, all.state, {theta, gradient, 1e-2, /*scale=*/0.25, /*zero_gradient=*/true, copies});
        apart.step(scaled, 1e-2);
        for (at::Tensor const& g : gradient) CHECK_FALSE(g.any().item<bool>());
      }
      CHECK(largest_difference(theta, other) == 0);
      for (std::size_t i = 0; i < theta.size(); ++i) CHECK(at::equal(copies[i], theta[i].to(at::kBFloat16)));
    }
}

TEST_CASE("a step on a GPU has the bits of one on the processor", "[optimizer][gpu]") {
  if (std::string_view(kernels().name) == "baseline") return;  // without fused products and sums, which every GPU has
  for (optimizer_choice const which : {fp32, bf16, bits8})
    for (bool const with_copies : {true, false}) {
      INFO(which.name());
      struct outcome {
        pack theta, copies;
        optimizer_state state;
      } of[2];
      for (int on_gpu = 0; on_gpu < 2; ++on_gpu) {
        std::optional<gpu_way_on_host> way;
        if (on_gpu) way.emplace();
        pack& theta = of[on_gpu].theta = parameters_of_some_kinds(at::kFloat);
        theta.push_back(at::zeros({0, 4}));
        theta.push_back(at::randn({3000}).narrow(0, 1, 2001).unsqueeze(0));  // a process's part of a tensor
        if (with_copies)
          for (at::Tensor const& t : theta) of[on_gpu].copies.push_back(t.to(at::kBFloat16));
        run_of run(which, theta);
        for (int step = 0; step < 5; ++step) {
          pack gradient = gradient_of_step(step, at::kFloat);
          gradient.push_back(at::zeros({0, 4}));
          gradient.push_back(at::randn({1, 2001}));
          which->step(run.settings, run.state, {theta, gradient, 1e-2, /*scale=*/0.25, /*zero_gradient=*/with_copies, of[on_gpu].copies});
          for (at::Tensor const& g : gradient) CHECK(g.any().item<bool>() == (!with_copies && g.numel() > 0));
        }
        of[on_gpu].state = run.state;
      }
      for (std::size_t i = 0; i < of[0].theta.size(); ++i) {
        CHECK(at::equal(of[0].theta[i], of[1].theta[i]));
        if (with_copies) CHECK(at::equal(of[1].copies[i], of[1].theta[i].to(at::kBFloat16)));
        for (std::size_t part = 0; part < of[0].state.parts.size(); ++part)
          CHECK(at::equal(of[0].state.parts[part].values[i], of[1].state.parts[part].values[i]));
      }
    }
}

TEST_CASE("short moments are the same in one pass and in tensor operations", "[optimizer]") {
  for (optimizer_choice const which : {bf16, bits8}) {
    pack const fast = after_steps(parameters_of_some_kinds(at::kFloat), which, 10, false),
               plain = after_steps(parameters_of_some_kinds(at::kFloat), which, 10, true);
    // Element numbers differ with the layout, and with them how moments are rounded; not by more than that.
    CHECK(mean_difference(fast, plain) < 2e-3);
    pack theta = parameters_of_some_kinds(at::kFloat), same = parameters_of_some_kinds(at::kFloat);
    pack const first = gradient_of_step(0, at::kFloat);
    run_of a(which, theta), b(which, same);
    a.step(first, 1e-2);
    for (at::Tensor& t : same) t = t.to(at::kDouble);  // contiguous, and not for the one pass
    b.step(first, 1e-2);
    for (std::size_t i = 0; i < theta.size(); ++i) {
      CHECK((a.first()[i].to(at::kFloat) != b.first()[i].to(at::kFloat)).to(at::kFloat).mean().item<double>() < 0.01);
      CHECK((a.second()[i].to(at::kFloat) != b.second()[i].to(at::kFloat)).to(at::kFloat).mean().item<double>() < 0.01);
    }
  }
}

TEST_CASE("short moments steer near where fp32 moments do", "[optimizer]") {
  pack const start = parameters_of_some_kinds(at::kFloat), exact = after_steps(parameters_of_some_kinds(at::kFloat), fp32, 50, false);
  double const way = mean_difference(exact, start);
  CHECK(mean_difference(after_steps(parameters_of_some_kinds(at::kFloat), bf16, 50, false), exact) < 0.02 * way);
  CHECK(mean_difference(after_steps(parameters_of_some_kinds(at::kFloat), bits8, 50, false), exact) < 0.1 * way);
}

TEST_CASE("second moments of bf16 and 8 bits follow a gradient that becomes small", "[optimizer]") {
  for (optimizer_choice const which : {bf16, bits8})
    for (bool const plain : {false, true}) {
      INFO(which.name() << plain);
      pack theta{at::zeros({16, 256})};
      if (plain) theta = transposed(theta);
      run_of run(which, theta);
      pack const large{at::ones({16, 256})}, small{at::full({16, 256}, 0.1)};
      small[0].select(1, 0).fill_(1);  // the scale of each block stays
      for (int step = 0; step < 100; ++step) run.step(large, 0);
      for (int step = 0; step < 700; ++step) run.step(small, 0);
      double const kept = std::pow(0.999, 700), expected = (1 - std::pow(0.999, 100)) * kept + 0.01 * (1 - kept);
      at::Tensor const v = second_moments(run).narrow(1, 1, 255);
      // What is rounded to nearest stays where a step changes it by less than half of what the format resolves.
      CHECK(v.mean().item<double>() == Approx(expected).epsilon(0.02));
    }
}

TEST_CASE("the state of every optimizer takes the bytes that a plan counts, of memory or of a disk", "[optimizer]") {
  pack const theta{at::zeros({64, 256}), at::zeros({256})};
  std::int64_t const parameters = 64 * 256 + 256;
  std::vector<optimizer_choice> all{signum};
  for (optimizer_name const& one : optimizer_names()) all.emplace_back(one.name);
  for (optimizer_choice const& which : all) {
    INFO(which.name());
    std::int64_t bytes = 0;
    for (optimizer_part const& part : which->init(theta).parts)
      for (at::Tensor const& t : part.values) bytes += static_cast<std::int64_t>(t.nbytes());
    CHECK(bytes == which->bytes(parameters, 4));
    CHECK(which.bytes()(parameters, 4) == (which->paged ? 0 : bytes));
  }
  CHECK(fp32.bytes()(100, 4) == 800);
  CHECK(bf16.bytes()(100, 4) == 400);
  CHECK(bits8.bytes()(1024, 4) == 2 * 1024 + 8 * 4);
  CHECK(optimizer_choice("sgd").bytes()(100, 4) == 0);
}

TEST_CASE("steps follow the scale of gradients by the degree that an optimizer says", "[optimizer]") {
  constexpr double times = 8;  // a power of two leaves all roundings as they are
  for (optimizer_name const& one : optimizer_names()) {
    INFO(one.name);
    pack moved[2];
    for (int scaled = 0; scaled < 2; ++scaled) {
      pack theta = parameters_of_some_kinds(at::kFloat);
      pack const start = [&] {
        pack copy;
        for (at::Tensor const& t : theta) copy.push_back(t.clone());
        return copy;
      }();
      run_of run(optimizer_choice(one.name), theta);
      run.settings.weight_decay = 0;  // it adds what no gradient scales
      if (scaled) run.settings.epsilon *= times;
      for (int k = 0; k < 3; ++k) {
        pack g = gradient_of_step(k, at::kFloat);
        if (scaled) at::_foreach_mul_(g, times);
        run.step(g, 1e-2);
      }
      for (std::size_t i = 0; i < theta.size(); ++i) moved[scaled].push_back(theta[i] - start[i]);
    }
    REQUIRE(optimizer_choice(one.name).gradient_degree());
    at::_foreach_mul_(moved[0], std::pow(times, *optimizer_choice(one.name).gradient_degree()));
    double const size = moved[1][0].abs().max().item<double>();
    CHECK(largest_difference(moved[0], moved[1]) <= 2e-3 * size);
  }
}

TEST_CASE("a step of sgd is torch's, with its decay of matrices and none of vectors", "[optimizer]") {
  pack theta = parameters_of_some_kinds(at::kFloat), expected = parameters_of_some_kinds(at::kFloat);
  auto const group = [&](bool matrices, double weight_decay) {
    std::vector<at::Tensor> members;
    for (at::Tensor const& t : expected)
      if ((t.dim() > 1) == matrices) members.push_back(t);
    return torch::optim::OptimizerParamGroup(members, std::make_unique<torch::optim::SGDOptions>(torch::optim::SGDOptions(0.05).weight_decay(weight_decay)));
  };
  torch::optim::SGD torchs({group(true, 0.1), group(false, 0)}, torch::optim::SGDOptions(0.05));
  run_of ours("sgd", theta);
  for (int step = 0; step < 5; ++step) {
    pack const gradient = gradient_of_step(step, at::kFloat);
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i].mutable_grad() = gradient[i].clone();
    torchs.step();
    ours.step(gradient, 0.05);
  }
  CHECK(largest_difference(theta, expected) == 0);
  CHECK(ours.state.steps == 5);
}

TEST_CASE("an optimizer is chosen by its name or an alias and an unknown one is refused with all names", "[optimizer]") {
  CHECK(optimizer_choice() == fp32);
  CHECK(optimizer_choice("adamw_torch") == fp32);
  CHECK(optimizer_choice(std::string("adamw_bnb_8bit")) == bits8);
  CHECK(optimizer_choice("adamw_torch_8bit").name() == "adamw_8bit");
  CHECK_THROWS_WITH(optimizer_choice("lion"), "--optim lion is not known; use one of adamw_torch_fused, adamw_bf16, adamw_8bit, paged_adamw_32bit, paged_adamw_8bit, sgd");
}

TEST_CASE("a state that another optimizer keeps is listed once by name", "[optimizer]") {
  pack theta = parameters_of_some_kinds(at::kFloat);
  run_of run(signum, theta);
  pack const before{theta[0].clone(), theta[1].clone(), theta[2].clone()}, gradient = gradient_of_step(0, at::kFloat);
  run.step(gradient, 1e-3);
  CHECK(run.state.parts.size() == 1);
  CHECK(run.state.parts[0].name == "mean-gradient");
  CHECK(at::allclose(run.first()[0], 0.1 * gradient[0]));
  CHECK(at::allclose(theta[1], before[1] - 1e-3 * gradient[1].sign()));
  CHECK(at::allclose(theta[0], before[0] * (1 - 1e-4) - 1e-3 * gradient[0].sign()));
}

TEST_CASE("a run with an optimizer from outside keeps its state in checkpoints and goes on to the same bits", "[optimizer][training]") {
  std::string const tiny = KEDGE_TESTS_DIR "/golden/tiny";
  kedge::testing::scratch_folder const folder;
  training_settings s;
  s.model = tiny + "/tied";
  s.dataset = {tiny + "/pairs.jsonl"};
  s.output_dir = folder / "run";
  s.compute.dtype = compute_type::float32;
  s.optim = signum;
  s.learning_rate = 1e-3;
  s.max_steps = 4;
  s.save_steps = 2;
  s.quiet = true;
  auto const trained = [&] {
    train_preferences(s, {});
    return kedge::testing::read_file(s.output_dir / "model.safetensors");
  };
  std::string const expected = trained();
  CHECK(std::filesystem::exists(s.output_dir / "checkpoints" / "step-2" / "mean-gradient.safetensors"));
  s.resume_from_checkpoint = (s.output_dir / "checkpoints" / "step-2").string();
  CHECK(trained() == expected);
}

TEST_CASE("the page on extending shows the optimizer that is compiled here", "[optimizer]") {
  std::string const source = kedge::testing::read_file(std::string(KEDGE_TESTS_DIR) + "/llm/train/extending/signum.hpp");
  CHECK(kedge::testing::read_file(std::string(KEDGE_PROJECT_DIR) + "/docs/extending.md").find(source.substr(source.find("// m "))) != std::string::npos);
}
