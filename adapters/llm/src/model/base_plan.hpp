// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/model/base_settings.hpp>
#include <kedge/llm/model/config.hpp>
#include <kedge/llm/model/lora_settings.hpp>

namespace kedge::llm {

/// How a tensor of a frozen base is held: as numbers, as numbers or blocks of the mapped file, or quantised on load.
enum class held { dense, mapped, blocks, quantised };

struct base_entry {
  parameter of;
  std::string tensor;       ///< the checkpoint's; empty: a bias that it has not, zero
  held as = held::dense;
  bool trained = false;     ///< the adapter trains it whole: fp32, whatever the computation's type
  std::int64_t bytes = 0;   ///< that it takes
};

/// What load_frozen does with each parameter of a base, in the order of parameters_of.
/// word: bytes of a number of the computation
/// throws  error where the settings don't go with the checkpoint
[[nodiscard]] std::vector<base_entry> plan_base(checkpoint const& source, transformer_config const& config, lora_settings const& lora, base_settings const& how,
                                                std::int64_t word);

/// Bytes of all of them.
[[nodiscard]] std::int64_t bytes_of(std::vector<base_entry> const& plan);

/// The resident set of a run that trains an adapter of rank 16 on all linear maps, on the host in the type that it computes in, 512 tokens at a time: on
/// the base as the file has it, quantised on load, and dequantised.
[[nodiscard]] nlohmann::ordered_json describe_bases(checkpoint const& source, transformer_config const& config);

/// "auto" becomes what it is for this checkpoint, on the host or elsewhere.
[[nodiscard]] base_settings settled(base_settings how, checkpoint const& source, bool on_host);

}  // namespace kedge::llm
