// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include <kedge/adapters/torch.hpp>

#include <kedge/llm/data/ragged.hpp>
#include <kedge/llm/model/config.hpp>
#include <kedge/llm/model/memory_plan.hpp>

namespace kedge::llm {

/// Parameters in the order of causal_lm::parameters().
using pack = std::vector<at::Tensor>;

/// Told by a backward pass that the gradients of layer i, and of all that stands after it, are complete; first with i = layers, for what
/// stands after all of them. Those of the embedding are complete at the end of the pass.
using layer_callback = std::function<void(std::int64_t layer)>;

struct layer_tape;
struct row_tensors;
struct row_slopes;
class recorded_pass;
class pass_recorder;
class weight_division;  ///< defined in the library's sources
class context_ring;   ///< processes that share every sequence; defined in the library's sources
struct adapted_base;  ///< a frozen base and where an adapter changes it; defined in the library's sources
struct stored_matrices;  ///< matrices that stay quantised; defined in the library's sources

/// The frozen weights under an adapter, in the order of parameters_of: in the type of the computation, or quantised.
struct base_weights {
  pack tensors{};                                   ///< undefined where a matrix stays quantised
  std::shared_ptr<stored_matrices const> stored{};  ///< null: none does
};

/// How the model computes.
struct compute_settings {
  at::ScalarType type = at::kFloat;       ///< of weights and activations; the residual stream is at least fp32
  at::Device device = at::kCPU;
  std::int64_t head_rows = 128;           ///< rows of the LM head computed at a time
  std::int64_t kept_logits = default_kept_logits;  ///< bytes of head probabilities kept for the backward pass; the rest is computed again
  std::int64_t activation_bytes = std::numeric_limits<std::int64_t>::max();  ///< what layers may keep for the backward pass; a batch that
                                          ///< needs more keeps each layer's input alone, and layers are computed again
  bool fp32_weights = false;              ///< in bf16 on the host: products read the fp32 masters, and only what is kept for the backward
                                          ///< pass is bf16. For processors whose products of fp32 are as fast (fast_fp32_products)
  bool graphs = false;                    ///< batches are padded to few sizes (size_class), and training's passes over a size recorded as CUDA graphs
                                          ///< when it comes again. On the host recorded passes are computed: for tests
  bool fp8 = false;                       ///< on a GPU, in bf16: products of the layers' linear maps in 8 bits, with a scale for each operand
  std::shared_ptr<context_ring> context{};  ///< who computes the tokens of a sequence together; null: this process alone
  float label_smoothing = 0;              ///< ε: backward, log p(target) of a row is (1 − ε) log p(target) + ε mean_v log p(v)
  double temperature = 1;                 ///< logits are divided by it: the policy that was sampled at this temperature
};

/// Whether this processor multiplies fp32 numbers as fast as bf16 ones: all but those with matrix units for bf16.
[[nodiscard]] bool fast_fp32_products();

/// What a forward pass computes at every row, or of the batch, beside its log-probability. Entropy and logits come out of the softmax on
/// the way; log_squares takes a pass over the probabilities.
struct row_figures {
  bool entropy = false, log_squares = false, logits = false;
  bool routing = false;  ///< of mixtures of experts: which experts the tokens of the batch go to
  auto operator<=>(row_figures const&) const = default;
};

/// How tokens are spread over experts, summed over layers with experts and over sequences: a token counts in each sequence that it stands in.
struct expert_use {
  std::vector<double> chosen;         ///< [E] how often an expert was chosen
  std::vector<double> probabilities;  ///< [E] Σ of the router's probabilities of it
  double tokens = 0;                  ///< Σ 1
};

/// What a model says at every row of a batch that is read.
struct row_outputs {
  std::vector<double> logp;     ///< [R] log-probability of the row's target, nats; empty without an LM head
  std::vector<double> value;    ///< [R] the scalar head's number; empty without one
  std::vector<double> entropy;  ///< [R] of the next token's distribution, nats; empty unless asked for
  std::vector<double> log_squares;  ///< [R] log Σ_v π(v)², nats; empty unless asked for
  std::vector<double> log_sum;      ///< [R] log Σ_v exp(logit v); this and what follows: empty unless logits were asked for
  std::vector<double> mean_logit;   ///< [R] over the vocabulary, of logits as the softmax takes them
  std::vector<double> likeliest;    ///< [R] 1 where the target is the likeliest token (the first one, of several), else 0
  expert_use routing;               ///< of the whole batch; empty unless asked for
};

/// A decoder-only transformer as a policy, a value or a reward: log-probabilities of completions, numbers of a scalar head, and
/// their vector-Jacobian products. The backward pass is written by hand: it adds weight gradients straight into the caller's
/// accumulators and keeps only what it needs. Nothing here depends on how sequences are ordered or packed, beyond rounding.
class causal_lm {
 public:
  struct tape;  ///< what one forward pass keeps

  /// Adds Jᵀ cotangent to the gradient. Called at most once.
  class pullback_type {
   public:
    pullback_type(causal_lm const& model, pack const& weights, std::unique_ptr<tape> kept);
    pullback_type(pullback_type&&) noexcept;
    ~pullback_type();
    /// The cotangent of the sequences' log-probabilities, which goes to a row times the batch's weight of it.
    /// shapes  cotangent: [sequences]; gradient: as the pack, fp32 or fp64; routing: as below
    void operator()(std::span<double const> cotangent, pack& gradient, layer_callback const& complete = {}, std::span<double const> routing = {});
    /// The cotangents of the rows' log-probabilities and values, and of expert_use::probabilities; an empty one is zero.
    /// shapes  logp, value: [R]; routing: [E], only where the forward pass was asked for the routing
    void operator()(std::span<double const> logp, std::span<double const> value, pack& gradient, layer_callback const& complete = {},
                    std::span<double const> routing = {});

   private:
    void pass(std::span<double const> logp, std::span<double const> value, pack& gradient, layer_callback const& complete, std::span<double const> routing);

    causal_lm const& model_;
    pack const& weights_;
    std::unique_ptr<tape> tape_;
  };

  /// What forward gives: the log-probabilities, and how to turn a cotangent of them into gradients.
  struct forward_result {
    std::vector<double> logp;  ///< [sequences] Σ over completion tokens, each times its weight, nats
    pullback_type pullback;
  };
  /// The same row by row.
  struct row_result {
    row_outputs out;
    pullback_type pullback;
  };

  causal_lm(transformer_config config, compute_settings settings);
  /// The same with an adapter on a frozen base: the packs that it takes hold the adapter alone.
  /// base: all parameters, of which the model keeps a copy in the type of the computation
  /// throws  error if a target of the adapter is no linear map of the model
  causal_lm(transformer_config config, compute_settings settings, lora_settings const& lora, pack const& base);
  /// The same on a base that is as the model keeps it, by frozen_base or load_frozen: shared, not copied.
  causal_lm(transformer_config config, compute_settings settings, lora_settings const& lora, base_weights base);

  [[nodiscard]] transformer_config const& config() const { return config_; }
  /// From now on a ring of processes computes every batch together, each a part of its tokens: all of them call the same members with the same
  /// batches, and get all outputs; a pullback adds what belongs to this process's tokens. What layers may keep becomes the least of all.
  void share_sequences(std::shared_ptr<context_ring> with);
  /// Whether prompts of a batch may share what they begin with: not where the rotation of a token depends on what follows it.
  [[nodiscard]] bool shares_prefixes() const;
  [[nodiscard]] compute_settings const& settings() const { return settings_; }
  /// What is trained, in the order of a pack: parameters_of, or the adapter's factors.
  [[nodiscard]] std::vector<parameter> parameters() const;
  /// Null without an adapter.
  [[nodiscard]] adapted_base const* adapted() const { return adapted_.get(); }

  /// The parameters in the type and on the device of the computation: the same tensors where nothing changes, as with fp32_weights.
  [[nodiscard]] pack weights_for(pack const& theta) const;

  /// The type of what passes read: weights_for's.
  [[nodiscard]] at::ScalarType weights_type() const;

  /// From now on weights or gradients are divided among processes. Passes are not recorded then.
  void divide(std::shared_ptr<weight_division const> by);
  /// Null: they aren't.
  [[nodiscard]] std::shared_ptr<weight_division const> const& division() const { return division_; }
  /// All of what weights_for gave, where weights are divided: for what can't go layer by layer. Else the same tensors.
  [[nodiscard]] pack whole(pack const& weights) const;

  /// Log-probabilities and their pullback. `weights` must outlive the pullback, unchanged.
  /// cost    6·N multiply-adds a token forward and backward together; head only at completion tokens
  [[nodiscard]] forward_result forward(pack const& weights, ragged_batch const& batch) const;

  /// Log-probabilities alone: nothing is kept. The same numbers as forward's, bit for bit.
  [[nodiscard]] std::vector<double> log_probs(pack const& weights, ragged_batch const& batch) const;

  /// Every row's outputs and their pullback, as forward.
  [[nodiscard]] row_result forward_rows(pack const& weights, ragged_batch const& batch, row_figures const& wanted = {}) const;

  /// Every row's outputs alone. The same numbers as forward_rows', bit for bit.
  [[nodiscard]] row_outputs rows(pack const& weights, ragged_batch const& batch, row_figures const& wanted = {}) const;

  /// Forward passes that were recorded ones so far: 0 without settings().graphs, or where the model is none for which they can be (rotations by
  /// length; on a GPU, attention not by its variable-length kernel).
  [[nodiscard]] std::size_t recorded_runs() const;

 private:
  friend class recorded_pass;  // runs the two passes

  /// The passes proper: from numbers on the device to numbers on the device, and nothing of the host is read on the way.
  row_tensors forward_pass(pack const& weights, tape& t, bool keep, row_figures const& wanted) const;
  void backward_pass(pack const& weights, tape& t, row_slopes const& slopes, pack& gradient, layer_callback const& complete) const;
  row_outputs compute(pack const& weights, ragged_batch const& batch, tape* kept, row_figures const& wanted) const;
  row_outputs compute_together(pack const& weights, ragged_batch const& batch, tape& t, bool keep, row_figures const& wanted) const;

  transformer_config config_;
  compute_settings settings_;
  std::shared_ptr<adapted_base const> adapted_;
  std::shared_ptr<pass_recorder> recorder_;  // null: nothing is recorded
  std::shared_ptr<weight_division const> division_;
};

}  // namespace kedge::llm
