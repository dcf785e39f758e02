// SPDX-License-Identifier: Apache-2.0
#pragma once

// Every kernel, for the instruction set that includes this.

#include "kernels.hpp"
#include "vector.hpp"

namespace kedge::llm::KEDGE_ISA {

extern kernel_table const table;
constinit kernel_table const table{name,        product::table, norm::table,   gate::table,          softmax::table, adam::table, convert::table,
                                   decode::table, merge::table, tile_product::kernel, quantised::table,
                                   quantised_product_of::table, near_scores};

}  // namespace kedge::llm::KEDGE_ISA
