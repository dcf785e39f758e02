// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace kedge::llm {

// Decoders of one block of ggml's formats whose quants are not evenly spaced: points of a grid (IQ1 to IQ3), levels of a table
// (IQ4, MXFP4, NVFP4), or two and three levels packed closely (Q1_0, TQ1_0, TQ2_0). Here, too, every product is exact in binary32, so the
// results are those of the Python package `gguf` bit for bit, whatever the order of the factors.
void decode_iq1_s(std::uint8_t const* in, float* out);
void decode_iq1_m(std::uint8_t const* in, float* out);
void decode_iq2_xxs(std::uint8_t const* in, float* out);
void decode_iq2_xs(std::uint8_t const* in, float* out);
void decode_iq2_s(std::uint8_t const* in, float* out);
void decode_iq3_xxs(std::uint8_t const* in, float* out);
void decode_iq3_s(std::uint8_t const* in, float* out);
void decode_iq4_nl(std::uint8_t const* in, float* out);
void decode_iq4_xs(std::uint8_t const* in, float* out);
void decode_mxfp4(std::uint8_t const* in, float* out);
void decode_nvfp4(std::uint8_t const* in, float* out);
void decode_tq1_0(std::uint8_t const* in, float* out);
void decode_tq2_0(std::uint8_t const* in, float* out);
void decode_q1_0(std::uint8_t const* in, float* out);
void decode_q2_0(std::uint8_t const* in, float* out);

}  // namespace kedge::llm
