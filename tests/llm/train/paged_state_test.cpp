// SPDX-License-Identifier: Apache-2.0

// Optimizers whose state lies in a mapped file: the steps of those that have it in memory, to the bit.

#include "../adapters/llm/src/train/paged_state.hpp"

#include <algorithm>
#include <filesystem>
#include <string>

#include <kedge/llm/train/optimizer.hpp>
#include <kedge/llm/train/optimizer_choice.hpp>

#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using kedge::testing::scratch_folder;
using kedge::testing::write_file;
namespace fs = std::filesystem;

namespace {

// Each paged optimizer, with the one of the same steps that isn't.
template <class F>
void each_paged(F const& f) {
  std::size_t count = 0;
  for (optimizer_name const& one : optimizer_names()) {
    optimizer_choice const here(one.name);
    if (!here->paged) continue;
    ++count;
    for (optimizer_name const& other : optimizer_names())
      if (optimizer_choice const twin(other.name); !twin->paged && twin->update == here->update) f(here, twin);
  }
  CHECK(count >= 2);
}

pack some_parameters(at::ScalarType type) {
  at::manual_seed(1);
  return {at::randn({64, 48}).to(type), at::randn({3}).to(type), at::zeros({0, 4}).to(type), at::randn({700, 101}).to(type)};
}

}  // namespace

TEST_CASE("steps on a paged state have the bits of those on one in memory", "[optimizer]") {
  scratch_folder const folder;
  each_paged([&](optimizer_choice here, optimizer_choice twin) {
    for (at::ScalarType const type : {at::kFloat, at::kDouble}) {
      INFO(here.name() << " is " << twin.name());
      pack theta = some_parameters(type), other = some_parameters(type);
      optimizer_state paged = paged_state(*here, theta, folder.path() / "made"), in_memory = twin->init(other);
      CHECK(fs::is_empty(folder.path() / "made"));  // the file has no name
      for (int step = 0; step < 5; ++step) {
        pack gradient = some_parameters(type);
        for (at::Tensor& g : gradient) g.mul_(0.1 * (step - 2));
        here->step({.weight_decay = 0.1}, paged, {.theta = theta, .gradient = gradient, .learning_rate = 1e-2});
        twin->step({.weight_decay = 0.1}, in_memory, {.theta = other, .gradient = gradient, .learning_rate = 1e-2});
      }
      for (std::size_t i = 0; i < theta.size(); ++i) CHECK(at::equal(theta[i], other[i]));
      for (std::size_t p = 0; p < paged.parts.size(); ++p)
        for (std::size_t i = 0; i < theta.size(); ++i) CHECK(at::equal(paged.parts[p].values[i], in_memory.parts[p].values[i]));
    }
  });
}

TEST_CASE("a paged state outlives copies of it and what holds it last closes the file", "[optimizer]") {
  scratch_folder const folder;
  optimizer_choice const which("paged_adamw_32bit");
  at::Tensor kept;
  {
    optimizer_state const state = paged_state(*which, some_parameters(at::kFloat), folder.path());
    kept = state.parts.front().values.front();
    kept.fill_(3);
    state.leave();
    CHECK(kept.eq(3).all().item<bool>());  // read again from the file
  }
  CHECK(kept.sum().item<float>() == 3 * 64 * 48);
}

TEST_CASE("a paged state for which there is no place is refused in a line", "[optimizer]") {
  scratch_folder const folder;
  write_file(folder.path() / "file", "");
  CHECK_THROWS_WITH(paged_state(*optimizer_choice("paged_adamw_8bit"), some_parameters(at::kFloat), folder.path() / "file"),
                    kedge::testing::contains("give another folder by --paged_dir"));
}

TEST_CASE("a plan counts nothing of a paged state", "[optimizer]") {
  each_paged([](optimizer_choice here, optimizer_choice twin) {
    CHECK(here.bytes()(1000, 4) == 0);
    CHECK(here->bytes(1000, 4) == twin.bytes()(1000, 4));
  });
}
