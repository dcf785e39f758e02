// SPDX-License-Identifier: Apache-2.0
// build error: Loss::needs_reference
// A divergence from the reference means nothing to a loss that has none.
#include <kedge/kedge.hpp>

kedge::with_divergence<kedge::forward_kl, kedge::simpo> loss;
