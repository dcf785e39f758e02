// SPDX-License-Identifier: Apache-2.0
#pragma once

// Some lanes of a vector as their number, for instruction sets without masks.

#include "types.hpp"

namespace kedge::llm::KEDGE_ISA {

using part = std::size_t;
KEDGE_INLINE part first(std::size_t n) { return n < lanes ? n : lanes; }

KEDGE_INLINE floats load(float const* at, part some) { return load_first(at, some); }
KEDGE_INLINE words load(std::uint16_t const* at, part some) { return load_first(at, some); }
KEDGE_INLINE words load(std::uint8_t const* at, part some) { return load_first(at, some); }
KEDGE_INLINE void store(float* at, floats x, part some) { store_first(at, x, some); }
KEDGE_INLINE void store(std::uint16_t* at, words x, part some) { store_first(at, x, some); }
KEDGE_INLINE void store(std::uint8_t* at, words x, part some) { store_first(at, x, some); }
KEDGE_INLINE floats keep(floats x, part some, floats otherwise) { return keep_first(x, some, otherwise); }

}  // namespace kedge::llm::KEDGE_ISA
