// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace kedge::llm {

/// Whether the processor has matrix units for bf16 (AMX). Only then are bf16 products faster than fp32 ones: vector instructions
/// alone (AVX-512 BF16) were measured at half the rate of fp32 multiply-adds, and without them bf16 is emulated.
[[nodiscard]] bool processor_multiplies_bf16();

}  // namespace kedge::llm
