// SPDX-License-Identifier: Apache-2.0
// build error: no matching function for call to .*preference_loss
#include <kedge/kedge.hpp>

struct half_a_loss {
  kedge::pair_slopes operator()(kedge::pair_terms const&) const { return {}; }
};

double f(kedge::pair_batch const& batch) { return kedge::preference_loss(half_a_loss{}, batch).value; }
