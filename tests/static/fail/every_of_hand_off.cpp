// SPDX-License-Identifier: Apache-2.0
// build error: keeps_anchor
// Every k rounds something has to be kept in between; hand_off keeps nothing.
#include <kedge/kedge.hpp>

kedge::every<kedge::hand_off> schedule{2};
