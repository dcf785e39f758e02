// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>        // array
#include <cstddef>      // size_t
#include <filesystem>   // path
#include <map>          // map
#include <optional>     // optional
#include <span>         // span
#include <string>       // string
#include <string_view>  // string_view
#include <utility>      // pair
#include <vector>       // vector

#include <kedge/llm/base/names.hpp>
#include <kedge/llm/formats/dtype.hpp>
#include <kedge/llm/soup/vocabulary.hpp>

namespace kedge::llm {

/// How checkpoints become one. All but `expo` and `greedy` are mergekit's, by its names.
enum class soup_method {
  linear,            ///< Σ wᵢθᵢ / Σ wᵢ
  slerp,             ///< along the great circle from the base to the other model
  nuslerp,           ///< the same between two models with weights, of task vectors where there is a base
  multislerp,        ///< barycentre on the sphere, through the tangent space at the weighted mean
  karcher,           ///< Riemannian mean on the sphere
  task_arithmetic,   ///< θ₀ + λ Σ wᵢ(θᵢ − θ₀)
  ties,              ///< the same of the largest entries, those of the majority's sign
  dare_linear,       ///< task arithmetic of entries kept at random
  dare_ties,         ///< the same with the majority's sign
  della,             ///< entries kept at random, larger ones more often, with the majority's sign
  della_linear,      ///< the same without the sign
  breadcrumbs,       ///< task arithmetic without the smallest and the very largest entries
  breadcrumbs_ties,  ///< the same with the majority's sign
  sce,               ///< task vectors weighted by their squares, of entries that differ most between models, with the majority's sign
  ram,               ///< θ₀ + task vectors, of which entries that several models change are averaged
  ramplus_tl,        ///< the same with more of the entries that one model alone changes
  nearswap,          ///< from the base to the other model by t, as far as that goes
  arcee_fusion,      ///< the base with the other model's entries that matter most
  model_stock,       ///< towards the mean as far as the angles between the task vectors tell
  passthrough,       ///< one model a slice, layers stacked as the slices say
  expo,              ///< θ₁ + α(θ₁ − θ₀), beyond the trained model
  greedy,            ///< the mean of those models that an evaluation keeps
};

constexpr auto names(soup_method) {
  using enum soup_method;
  return std::array{named{linear, "linear"}, named{slerp, "slerp"}, named{nuslerp, "nuslerp"},
                    named{multislerp, "multislerp"}, named{karcher, "karcher"}, named{task_arithmetic, "task_arithmetic"},
                    named{ties, "ties"}, named{dare_linear, "dare_linear"}, named{dare_ties, "dare_ties"},
                    named{della, "della"}, named{della_linear, "della_linear"}, named{breadcrumbs, "breadcrumbs"},
                    named{breadcrumbs_ties, "breadcrumbs_ties"}, named{sce, "sce"}, named{ram, "ram"}, named{ramplus_tl, "ramplus_tl"},
                    named{nearswap, "nearswap"}, named{arcee_fusion, "arcee_fusion"}, named{model_stock, "model_stock"}, named{passthrough, "passthrough"},
                    named{expo, "expo"}, named{greedy, "greedy"}};
}

/// throws  kedge::llm::error for an unknown name, listing the known ones
soup_method soup_method_from_name(std::string_view name);

/// A value for tensors whose name contains `filter` ("" and "*": any): one number, or numbers spread over the depth of the
/// slice, between which reals are interpolated. Booleans are 0 and 1.
struct parameter_rule {
  std::string filter;
  std::vector<double> values;
};

/// Name to rules, of which the first that matches counts.
using soup_parameters = std::map<std::string, std::vector<parameter_rule>, std::less<>>;

/// What a parameter may hold, which methods read it, and what it is where nothing is said. A name may have several entries, for methods that
/// mean different things by it, or have different defaults.
struct parameter_info {
  enum class kind { real, boolean, integer };
  enum class scope { shared, input };  ///< one value for a tensor, or one a model

  std::string_view name;
  kind type = kind::real;
  scope reach = scope::shared;
  std::vector<soup_method> methods;
  std::optional<double> otherwise;  ///< nothing: it has to be given
  std::string_view help;

  [[nodiscard]] bool is_read_by(soup_method method) const;
};

/// Every parameter there is.
std::span<parameter_info const> soup_parameter_table();

/// The entry of a name for a method, else the name's first; null where there is no such name.
parameter_info const* find_parameter(std::string_view name, soup_method method);

/// The value of a name in a table of rules at depth t ∈ [0, 1] of its slice; nothing where no rule matches.
std::optional<double> evaluate(soup_parameters const& table, std::string_view name, std::string_view tensor, double t);

/// A model, or a range of its layers.
struct soup_source {
  model_reference model;
  std::optional<std::pair<std::size_t, std::size_t>> layers;  ///< [first, last); all where absent
  soup_parameters parameters;
};

/// Layers of the result, made of as many layers of each source.
struct soup_slice {
  std::vector<soup_source> sources;
  std::optional<model_reference> base_model;
  soup_parameters parameters;
};

/// What to merge and how. A parameter is looked for in the source, then its slice, then here.
struct soup_recipe {
  soup_method method = soup_method::linear;
  std::vector<soup_slice> slices;
  std::optional<model_reference> base_model;
  soup_parameters parameters;
  std::optional<dtype> input_dtype;   ///< numbers are rounded to it as they are read
  std::optional<dtype> output_dtype;  ///< of the result; else input_dtype, else what holds all inputs' numbers
  bool round_to_input_dtype = false;  ///< round the result to the inputs' format before the output's, as mergekit does
  soup_vocabulary vocabulary;
  std::string chat_template;       ///< replaces the models' if not empty: a template, or a name of named_chat_template
  std::vector<std::string> notes;  ///< what was read and has no effect
};

/// The template of one of mergekit's names: alpaca, chatml, exaone, llama3, mistral. Nothing for another name; "auto" is what most models have, and is
/// settled when they are opened.
std::optional<std::string_view> named_chat_template(std::string_view name);

/// What a recipe or the command line says of the template: a text with a brace is one, any other a name.
/// throws  kedge::llm::error listing the names
std::string chat_template_choice(std::string const& text);

/// Reads a recipe in mergekit's format. Keys without a meaning are told in its notes; what kedge has no equal for is an error with its line.
/// throws  kedge::llm::error "FILE, line LINE: what, what to do"
soup_recipe read_recipe(std::filesystem::path const& yaml);

/// A model and its weight as the command line writes them, "DIR" or "DIR:0.3". Only a number after the last colon is a
/// weight; a folder whose name ends like that takes a weight of its own ("runs:3:1").
std::pair<std::filesystem::path, std::optional<double>> parse_weighted_model(std::string_view text);

/// The recipe of a command line: models as parse_weighted_model and find_model read them, parameters as texts (`0.5`, `true`, or
/// `0,0.5,1` over the depth). Weights default to one each; linear divides by their sum, and where weights are given they
/// have to sum to one unless `allow_unnormalized`, which takes them as they are. slerp takes the first model for its base
/// and t from the weights where nothing is said.
/// throws  kedge::llm::error naming the model or parameter
soup_recipe make_recipe(soup_method method, std::vector<std::string> const& models, std::string const& base_model,
                        std::string_view number_format, std::map<std::string, std::string> const& parameters, bool allow_unnormalized);

/// "5GB", "500MB", "2GiB", "4096": bytes; KB, MB, GB and TB are powers of 1000 as in transformers.
/// throws  kedge::llm::error for anything else, and for zero
std::size_t parse_size(std::string_view text);

}  // namespace kedge::llm
