// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/formats/peft_adapter.hpp>
#include <kedge/llm/model/base_settings.hpp>
#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/model/lora_settings.hpp>

namespace kedge::llm {

/// A fresh adapter as PEFT draws it, which leaves the model its base. Of a linear map A is uniform within ±1/√in and B zero, of the
/// embedding A is zero and B normal; magnitudes are the lengths of the base's rows, biases of B zero, and what is trained whole is the base's.
/// A seed fixes it.
/// returns  tensors in the order of causal_lm::parameters, fp32 on the host, but for a scalar head, which would be the last
[[nodiscard]] pack initial_adapter(causal_lm const& model, std::uint64_t seed);

/// What a model with an adapter keeps of its base: numbers in the type of the computation, but for what the adapter trains whole,
/// which stays as it is given and is where training begins.
[[nodiscard]] base_weights frozen_base(transformer_config const& config, compute_settings const& compute, lora_settings const& lora, pack base);

/// The same read from a checkpoint, tensor after tensor, quantised where the settings say so: as the file has it, or on load. As with load_base, a
/// head that the base has not is its embedding, a bias zero; a score is left out.
/// told: gets a line about what stays quantised
/// throws  error naming a tensor that is missing, of another shape, or holds NaN or infinity, and settings that don't go with the checkpoint
[[nodiscard]] base_weights load_frozen(checkpoint const& source, transformer_config const& config, compute_settings const& compute, lora_settings const& lora,
                                       base_settings const& how, std::vector<std::string>* told = nullptr);

/// Puts what the adapter makes of each parameter in its place.
/// theta: all parameters of model.config(), in the order of parameters_of; adapter: in the order of causal_lm::parameters
void merge_adapter(causal_lm const& model, pack& theta, pack const& adapter);

/// Pairs A, B that the adapter of a model begins with; 0 without one.
[[nodiscard]] std::size_t products_of(causal_lm const& model);

/// The adapter whose products are (1+α) B A − α B′A′, written over (A′, B′): extrapolation of what the adapter adds to the weights,
/// which is not that of A and B apart: ((1+α) B − α B′)((1+α) A − α A′) has cross terms that no model ever had, and depends on how a
/// product is split into its factors, of which there are infinitely many. The exact result has up to the sum of both ranks.
/// With α = 0 it is (A, B) bit for bit; a product of zeros adds no rank. What stands behind the products is linear in the weights, and is extrapolated as it is.
/// products: pairs that the packs begin with
void extrapolate_product(pack const& now, double alpha, pack& before, std::size_t products);

/// Factors of a rank above that of any product of their shapes become the product itself and a unit matrix: the same adapter up to
/// rounding, in no more memory than the map and that matrix.
void bound_rank(pack& adapter, std::size_t products);

/// An adapter's tensors in the order of causal_lm::parameters.
/// throws  error naming a tensor that is missing, of another shape or unknown
[[nodiscard]] pack read_adapter(peft_adapter const& adapter, causal_lm const& model);

/// Writes adapter_config.json and adapter_model.safetensors as PEFT reads them, and tokenizer and template of `source`.
void write_adapter(std::filesystem::path const& folder, checkpoint const& source, causal_lm const& model, pack const& adapter, dtype type);

/// Opens an adapter's base: `base`, or what the adapter names, from here or from the adapter's folder. That of a reward model's adapter
/// is described as a reward model, whatever it is itself; where the adapter brings an embedding of other size, or a head of its own, so is
/// the base.
/// throws  error naming the adapter and the base if there is no such model
[[nodiscard]] checkpoint open_base(peft_adapter const& adapter, std::filesystem::path const& base = {});

/// All parameters of an adapter's base with the adapter merged into them.
/// source: the base, opened by open_base
/// throws  error naming a tensor of either that is missing or of another shape
[[nodiscard]] pack load_merged(checkpoint const& source, transformer_config const& config, peft_adapter const& adapter);

/// Opens what a command is given as a model: a folder, a GGUF file, or an adapter's folder, which is described as its base.
[[nodiscard]] checkpoint open_model(std::filesystem::path const& path);
/// All parameters of what open_model has opened there; an adapter stands merged.
[[nodiscard]] pack load_model(std::filesystem::path const& path, checkpoint const& source, transformer_config const& config);

/// The same without the adapter: what it is trained on. A head that the base has not is its embedding, a bias zero; a score, which is the adapter's, is left out.
[[nodiscard]] pack load_base(checkpoint const& source, transformer_config const& config);

}  // namespace kedge::llm
