// SPDX-License-Identifier: Apache-2.0
// build error: rule\(round\)
#include <kedge/kedge.hpp>

struct no_rule {};

double f() { return kedge::effective_beta(0.1, no_rule{}, 3); }
