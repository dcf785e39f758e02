// SPDX-License-Identifier: Apache-2.0

// Runs whose processes compute every pair together: the result of one, beside processes that have other pairs, resumed with another number.

#include <string>

#include "llm/train/several_processes.hpp"
#include "support/largest_difference.hpp"

using namespace kedge::testing;

namespace {

// A run of four pairs a step in so many processes, of which so many share each pair.
std::string shared(fs::path const& output, int processes, int ring, std::string const& more) {
  return run(on_tiny("dpo"), output, processes / ring, 4,
             "--dtype float64 --context_parallel_size " + std::to_string(ring) + " " + more);
}

}  // namespace

TEST_CASE("processes that share sequences end where one does", "[scale][context]") {
  scratch_folder const folder;
  std::string const more =
      "--max_steps 4 --save_steps 4 --eval_dataset " + quoted(tiny / "pairs.jsonl") + " --eval_strategy steps --eval_steps 2";
  for (std::string const kind : {"", "--gradient_checkpointing on --micro_batch_tokens 64 --optim paged_adamw_32bit",
                                 "--loss_type sppo_hard --use_weighting"}) {
    INFO(kind);
    fs::path const one = folder / ("one" + std::to_string(kind.size()));
    finish(1, shared(one, 1, 1, more + " " + kind));
    for (auto const& [processes, ring] : {std::pair(2, 2), std::pair(4, 4), std::pair(4, 2)}) {
      INFO(processes << " processes, " << ring << " share a pair");
      fs::path const several = folder / std::to_string(10 * processes + ring + 100 * static_cast<int>(kind.size()));
      finish(processes, shared(several, processes, ring, more + " " + kind));
      CHECK(largest_difference(weights_of(one, 4), weights_of(several, 4)) < 1e-10);
      check_same_metrics(one, several, 1e-8);
    }
  }
}

TEST_CASE("a run goes on with another number of processes that share sequences", "[scale][context]") {
  scratch_folder const folder;
  auto const part = [&](std::string const& name, int processes, int ring, int steps, std::string const& from) {
    finish(processes, shared(folder / name, processes, ring,
                             "--max_steps 6 --save_steps " + std::to_string(steps) +
                                 (from.empty() ? "" : " --resume_from_checkpoint " + quoted(folder / from))));
  };
  part("whole", 1, 1, 6, "");
  part("two", 2, 2, 2, "");
  part("four", 4, 2, 4, "two/checkpoints/step-2");
  part("one", 1, 1, 6, "four/checkpoints/step-4");
  CHECK(largest_difference(weights_of(folder / "whole", 6), weights_of(folder / "one", 6)) < 1e-10);
}

TEST_CASE("a ring that can't be is refused in one line", "[scale][context]") {
  scratch_folder const folder;
  check_one_line(shell(quoted(KEDGE_PROGRAM) + " " + shared(folder / "out", 2, 2, "")), 1, "1 process is not a multiple of it");
  for (outcome const& result : together(2, shared(folder / "out", 3, 3, "")))
    check_one_line(result, 1, "2 processes are not a multiple of it");
  for (outcome const& result : together(2, run(on_tiny("dpo", "experts"), folder / "out", 1, 4, "--context_parallel_size 2")))
    check_one_line(result, 1, "mixtures of experts are not supported");
}
