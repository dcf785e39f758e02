// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/kto.hpp>

#include "one_round.hpp"

namespace kedge::cli {

int run_kto(arguments const& args) {
  return run_one_round(args, "kedge kto", "Trains a model on single completions, each with a label that says whether it is desirable: KTO.", "completions",
                       llm::train_kto);
}

}  // namespace kedge::cli
