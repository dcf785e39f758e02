// SPDX-License-Identifier: Apache-2.0
#include "plan.hpp"

#include <algorithm>  // all_of, any_of, max, min
#include <charconv>   // from_chars
#include <set>        // set

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

constexpr std::string_view head_name = "lm_head.weight", embedding_name = "model.embed_tokens.weight";

/// "model.layers.7.mlp.up_proj.weight" taken apart at the first part that is a number: "model.layers.", 7, ".mlp.up_proj.weight".
struct layered_name {
  std::string before;
  std::optional<std::size_t> layer;
  std::string after;
};

layered_name take_apart(std::string const& name) {
  for (std::size_t begin = 0; begin < name.size();) {
    std::size_t const end = std::min(name.find('.', begin), name.size());
    std::size_t layer = 0;
    auto const [stop, problem] = std::from_chars(name.data() + begin, name.data() + end, layer);
    if (problem == std::errc{} && stop == name.data() + end) return {name.substr(0, begin), layer, name.substr(end)};
    begin = end + 1;
  }
  return {name, std::nullopt, ""};
}

/// A model's tensor names, those of each layer together without its number.
struct model_names {
  std::vector<std::string> outer;
  std::vector<std::vector<std::pair<std::string, std::string>>> layers;
};

model_names names_of(checkpoint const& model) {
  model_names out;
  for (auto const& tensor : model.tensors()) {
    layered_name const parts = take_apart(tensor.name);
    if (!parts.layer) {
      out.outer.push_back(tensor.name);
      continue;
    }
    if (*parts.layer >= model.tensors().size())
      throw error(in_quotes(model.path().string()) + ": tensor " + in_quotes(tensor.name) + " is of a layer beyond the model's depth");
    out.layers.resize(std::max(out.layers.size(), *parts.layer + 1));
    out.layers[*parts.layer].emplace_back(parts.before, parts.after);
  }
  return out;
}

bool comes_first(std::string const& name) {
  return name.find("embed") != std::string::npos || name.find("wte") != std::string::npos || name.find("wpe") != std::string::npos;
}

bool is_tied(checkpoint const& model) {
  auto const found = model.config.find("tie_word_embeddings");
  return !model.contains(head_name) && model.contains(embedding_name) &&
         (found == model.config.end() || !found->is_boolean() || found->get<bool>());
}

/// The format that holds a tensor's numbers exactly, as far as float32 can.
std::optional<dtype> format_of(tensor_entry const& entry) {
  auto const stored = find_dtype(entry.stored_type);
  if (!stored || *stored == dtype::f64) return dtype::f32;  // quantised numbers are decoded to float32
  return stored;
}

std::string text(std::vector<std::int64_t> const& shape) {
  std::string out = "[";
  for (auto const extent : shape) out += (out.size() > 1 ? ", " : "") + std::to_string(extent);
  return out + "]";
}

/// Looks parameters up for one tensor: in the source, then the slice, then the recipe.
class lookup {
 public:
  lookup(soup_recipe const& recipe, soup_slice const& slice, double t) : recipe_(recipe), slice_(slice), t_(t) {}

  std::optional<double> find(soup_source const* source, std::string_view name, std::string_view tensor) const {
    std::optional<double> out;
    if (source != nullptr) out = evaluate(source->parameters, name, tensor, t_);
    if (!out) out = evaluate(slice_.parameters, name, tensor, t_);
    if (!out) out = evaluate(recipe_.parameters, name, tensor, t_);
    return out;
  }

  double shared(std::string_view name, std::string_view tensor, double otherwise) const {
    return find(nullptr, name, tensor).value_or(otherwise);
  }

  double required(soup_source const* source, std::string_view name, std::string_view tensor) const {
    if (auto const out = find(source, name, tensor)) return *out;
    throw error(std::string{name_of(recipe_.method)} + " needs the parameter " + in_quotes(name) +
                (source != nullptr ? " for " + in_quotes(source->model.string()) : "") + ", which is not given for tensor " +
                in_quotes(tensor));
  }

 private:
  soup_recipe const& recipe_;
  soup_slice const& slice_;
  double t_;
};

bool reads(soup_method method, std::string_view parameter) {
  for (auto const& info : soup_parameter_table())
    if (info.name == parameter) return std::find(info.methods.begin(), info.methods.end(), method) != info.methods.end();
  return false;
}

bool takes_base(soup_method method) {
  return method != soup_method::linear && method != soup_method::karcher && method != soup_method::passthrough &&
         method != soup_method::greedy;
}

class planner {
 public:
  planner(soup_recipe const& recipe, soup_models const& models) : recipe_(recipe), models_(models) {}

  soup_plan make() {
    for (auto const& slice : recipe_.slices) check_inputs(slice);
    auto const &first = recipe_.slices.front(), &last = recipe_.slices.back();
    outer_tensors(first, true);
    for (auto const& slice : recipe_.slices) layers(slice);
    outer_tensors(last, false);
    return std::move(out_);
  }

 private:
  model_names const& names(soup_source const& source) {
    auto const found = names_.find(source.model);
    return found != names_.end() ? found->second : names_.emplace(source.model, names_of(models_.at(source.model))).first->second;
  }

  std::optional<std::size_t> base_of(soup_slice const& slice) const {
    auto const& base = slice.base_model ? slice.base_model : recipe_.base_model;
    if (!base || !takes_base(recipe_.method)) return std::nullopt;
    for (std::size_t i = 0; i < slice.sources.size(); ++i)
      if (slice.sources[i].model == *base) return i;
    throw error("the base " + in_quotes(base->string()) + " is not among the models; a slice has to list it as a source");
  }

  void check_inputs(soup_slice const& slice) const {
    std::size_t const count = slice.sources.size();
    bool const base = base_of(slice).has_value();
    std::string const name{name_of(recipe_.method)};
    auto const demand = [&](bool holds, std::string const& what) {
      if (!holds) throw error(name + " takes " + what + "; " + std::to_string(count) + (base ? " models with a base" : " models without a base") + " were given");
    };
    switch (recipe_.method) {
      case soup_method::linear:
      case soup_method::karcher:
      case soup_method::greedy:
        return demand(count >= 1, "at least one model");
      case soup_method::passthrough:
        return demand(count == 1, "one model" + std::string(recipe_.slices.size() > 1 ? " a slice" : ""));
      case soup_method::slerp:
      case soup_method::expo:
        return demand(base && count == 2, "a base (base_model) and one other model");
      case soup_method::nuslerp:
        return demand(count == (base ? 3 : 2), "two models, and a base if its task vectors are meant");
      case soup_method::multislerp:
        return demand(count >= (base ? 2 : 1), "at least one model besides the base");
      case soup_method::model_stock:
        return demand(base && count >= 3, "a base (base_model) and at least two other models");
      default:
        return demand(base, "a base (base_model) and the models trained from it");
    }
  }

  std::pair<std::size_t, std::size_t> range_of(soup_source const& source) {
    std::size_t const count = names(source).layers.size();
    if (!source.layers) return {0, count};
    if (source.layers->second > count)
      throw error("layer_range [" + std::to_string(source.layers->first) + ", " + std::to_string(source.layers->second) + "] of " +
                  in_quotes(source.model.string()) + ": the model has only " + std::to_string(count) + " layers");
    return *source.layers;
  }

  void layers(soup_slice const& slice) {
    auto const [first, end] = range_of(slice.sources.front());
    for (auto const& source : slice.sources)
      if (auto const [begin, stop] = range_of(source); stop - begin != end - first)
        throw error(in_quotes(slice.sources.front().model.string()) + " has " + std::to_string(end - first) + " layers and " +
                    in_quotes(source.model.string()) + " has " + std::to_string(stop - begin) + "; only models of one depth can be merged");
    for (std::size_t k = 0; k < end - first; ++k) {
      double const t = end - first > 1 ? static_cast<double>(k) / static_cast<double>(end - first - 1) : 1;
      std::vector<std::size_t> numbers;
      for (auto const& source : slice.sources) numbers.push_back(range_of(source).first + k);
      layer(slice, numbers, lookup(recipe_, slice, t));
      ++out_.layers;
    }
  }

  void layer(soup_slice const& slice, std::vector<std::size_t> const& numbers, lookup const& parameters) {
    auto const& first = names(slice.sources.front()).layers[numbers.front()];
    std::set<std::pair<std::string, std::string>> const known(first.begin(), first.end());
    for (auto const& [before, after] : first) {
      std::vector<std::string> inputs;
      for (std::size_t const number : numbers) inputs.push_back(before + std::to_string(number) + after);
      add(slice, before + std::to_string(out_.layers) + after, inputs, parameters);
    }
    for (std::size_t s = 1; s < numbers.size(); ++s)
      for (auto const& [before, after] : names(slice.sources[s]).layers[numbers[s]])
        if (!known.contains({before, after}))
          missing(slice.sources.front(), slice.sources[s], before + std::to_string(numbers[s]) + after);
  }

  [[noreturn]] void missing(soup_source const& without, soup_source const& with, std::string const& name) const {
    throw error("tensor " + in_quotes(name) + " is in " + in_quotes(with.model.string()) + " but not in " +
                in_quotes(without.model.string()) + "; only models of one architecture can be merged");
  }

  /// What belongs to no layer: the embedding from the first slice's models, the last norm and the head from the last's.
  void outer_tensors(soup_slice const& slice, bool first) {
    lookup const parameters(recipe_, slice, 0);
    std::vector<std::string> order;
    std::set<std::string> seen;
    for (auto const& source : slice.sources)
      for (auto const& name : names(source).outer)
        if (comes_first(name) == first && seen.insert(name).second) order.push_back(name);
    for (auto const& name : order) {
      std::vector<std::string> inputs;
      for (auto const& source : slice.sources) {
        checkpoint const& model = models_.at(source.model);
        bool const tied = name == head_name && is_tied(model);
        if (tied) out_.head_of_its_own = true;
        if (!tied && !model.contains(name)) {
          for (auto const& other : slice.sources)
            if (models_.at(other.model).contains(name)) missing(source, other, name);
        }
        inputs.push_back(tied ? std::string{embedding_name} : name);
      }
      add(slice, name, inputs, parameters);
    }
  }

  void add(soup_slice const& slice, std::string const& name, std::vector<std::string> const& inputs, lookup const& parameters) {
    planned_tensor tensor;
    tensor.base = base_of(slice);
    std::optional<dtype> type;
    for (std::size_t s = 0; s < inputs.size(); ++s) {
      checkpoint const& model = models_.at(slice.sources[s].model);
      if (!model.contains(inputs[s])) missing(slice.sources[s], slice.sources[s == 0 ? inputs.size() - 1 : 0], inputs[s]);
      tensor_entry const& entry = model.entry(inputs[s]);
      tensor.inputs.emplace_back(&model, inputs[s]);
      if (s == 0) tensor.output.shape = entry.shape;
      if (entry.shape != tensor.output.shape)
        throw error("tensor " + in_quotes(name) + " is " + text(tensor.output.shape) + " in " +
                    in_quotes(slice.sources.front().model.string()) + " but " + text(entry.shape) + " in " +
                    in_quotes(model.path().string()) + "; only models of one architecture and vocabulary can be merged");
      auto const format = format_of(entry);
      type = s == 0 || type == format ? format : std::optional{dtype::f32};
      tensor.bytes_in += entry.elements() * size_of(find_dtype(entry.stored_type).value_or(dtype::f32));
    }
    tensor.copied = !is_floating(*type);
    tensor.computed = tensor.copied ? *type : recipe_.input_dtype.value_or(*type);
    tensor.output.name = name;
    tensor.output.type = tensor.copied ? *type : recipe_.output_dtype.value_or(tensor.computed);
    if (!tensor.copied) tensor.values = values(slice, name, inputs, tensor.base, parameters);
    out_.tensors.push_back(std::move(tensor));
  }

  merge_values values(soup_slice const& slice, std::string const& name, std::vector<std::string> const& inputs,
                      std::optional<std::size_t> base, lookup const& find) const {
    soup_method const m = recipe_.method;
    merge_values v;
    v.normalize = find.shared("normalize", name, m == soup_method::linear || m == soup_method::ties || m == soup_method::della) != 0;
    v.rescale = find.shared("rescale", name, m == soup_method::dare_linear || m == soup_method::dare_ties || m == soup_method::della ||
                                                 m == soup_method::della_linear) != 0;
    v.lambda = find.shared("lambda", name, v.lambda);
    v.eps = find.shared("eps", name, v.eps);
    v.tol = find.shared("tol", name, v.tol);
    v.max_iter = static_cast<std::size_t>(std::max(0.0, find.shared("max_iter", name, 10)));
    v.row_wise = find.shared("nuslerp_row_wise", name, 0) != 0;
    v.flatten = find.shared("nuslerp_flatten", name, 1) != 0;
    v.normalize_weights = find.shared("normalize_weights", name, 1) != 0;
    v.filter_wise = find.shared("filter_wise", name, 0) != 0;
    if (m == soup_method::slerp) v.t = find.required(nullptr, "t", name);
    if (m == soup_method::expo) v.alpha = find.required(nullptr, "alpha", name);
    for (std::size_t s = 0; s < inputs.size(); ++s) {
      soup_source const& source = slice.sources[s];
      bool const weighted = reads(m, "weight") && s != base;
      v.weight.push_back(weighted ? find.required(&source, "weight", inputs[s]) : 1);
      v.density.push_back(find.find(&source, "density", inputs[s]).value_or(1));
      v.gamma.push_back(find.find(&source, "gamma", inputs[s]).value_or(0.01));
      v.epsilon.push_back(find.find(&source, "epsilon", inputs[s]).value_or(0.15));
      v.scale.push_back(find.find(&source, "scale", inputs[s]).value_or(1));
    }
    if (m == soup_method::greedy) v.normalize = true;
    return v;
  }

  soup_recipe const& recipe_;
  soup_models const& models_;
  std::map<std::filesystem::path, model_names> names_;
  soup_plan out_;
};

}  // namespace

soup_plan plan(soup_recipe const& recipe, soup_models const& models) { return planner(recipe, models).make(); }

soup_size soup_plan::size(std::size_t max_shard_bytes) const {
  soup_size out;
  std::size_t used = 0;
  for (auto const& tensor : tensors) {
    std::size_t const bytes = tensor.output.bytes();
    if (used > 0 && (used > max_shard_bytes || bytes > max_shard_bytes - used)) used = 0;
    if (used == 0) ++out.shards;
    used += bytes;
    ++out.tensors;
    out.parameters += bytes / size_of(tensor.output.type);
    out.bytes_in += tensor.bytes_in;
    out.bytes_out += bytes;
  }
  return out;
}

}  // namespace kedge::llm
