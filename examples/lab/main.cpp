// SPDX-License-Identifier: Apache-2.0
// kedge-lab: preference optimization against its exact answers.
#include <kedge/lab/harness.hpp>

#include "experiment.hpp"

namespace {

// All experiments, in the order of the report.
std::vector<kedge::lab::experiment> all_experiments() {
  using namespace kedge_lab;
  std::vector<kedge::lab::experiment> found;
  for (auto const& family :
       {bandit_experiments(), null_experiments(), premise_experiments(), game_experiments(), cycle_experiments(), fit_experiments(),
        sdpo_experiments(), salsa_experiments(), proximal_experiments()})
    found.insert(found.end(), family.begin(), family.end());
  return found;
}

char const* const introduction =
    "<p>Accelerated preference optimization (APO), stepwise DPO (sDPO), SALSA and their relatives, run on problems whose answers are known. A "
    "thick line is what the algorithm did; a dashed line is the exact answer, a dotted one a bound. Where the two agree, the thick line hides "
    "under the dashed one, and a plot beside it shows the distance. α is the momentum between rounds, β the weight of the KL term, C_t the steps "
    "that t rounds add up to: plain iterative DPO has C_t = t.</p>\n";

}  // namespace

int main(int count, char** texts) {
  return kedge::lab::kedge_lab_main(all_experiments(), count, texts, {"kedge-lab", "kedge lab", introduction});
}
