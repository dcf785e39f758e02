// SPDX-License-Identifier: Apache-2.0
#include "plan.hpp"

#include <algorithm>  // any_of, equal, max, min
#include <charconv>   // from_chars
#include <set>        // set

#include <kedge/llm/base/error.hpp>

#include "methods.hpp"
#include "values.hpp"

namespace kedge::llm {
namespace {

constexpr std::string_view head_name = "lm_head.weight", embedding_name = "model.embed_tokens.weight";

/// Tensors with a row a token.
constexpr std::string_view vocabulary_names[] = {"embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight",
                                                 "lm_head.weight",      "lm_head.bias", "embed_out.weight"};

/// Buffers that some versions of transformers have saved with the weights, and all compute themselves; mergekit leaves them out.
constexpr std::string_view buffer_names[] = {"rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached", "attn.masked_bias",
                                             "attention.masked_bias", "embeddings.position_ids"};
constexpr std::string_view mask_names[] = {"attn.bias", "attention.bias"};  ///< of shape [1, 1, n, n]

bool ends_with_any(std::string_view name, std::span<std::string_view const> ends) {
  return std::any_of(ends.begin(), ends.end(), [&](std::string_view const end) { return name == end || (name.ends_with(end) && name[name.size() - end.size() - 1] == '.'); });
}

bool is_buffer(tensor_entry const& tensor) {
  bool const square = tensor.shape.size() == 4 && tensor.shape[0] == 1 && tensor.shape[1] == 1 && tensor.shape[2] == tensor.shape[3];
  return ends_with_any(tensor.name, buffer_names) || (square && ends_with_any(tensor.name, mask_names));
}

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
  std::vector<std::string> buffers;  ///< left out
  std::vector<std::string> outer;
  std::vector<std::vector<std::pair<std::string, std::string>>> layers;
};

model_names names_of(checkpoint const& model) {
  model_names out;
  for (auto const& tensor : model.tensors()) {
    if (is_buffer(tensor)) {
      out.buffers.push_back(tensor.name);
      continue;
    }
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

/// The format of a tensor's numbers.
std::optional<dtype> format_of(tensor_entry const& entry) {
  auto const stored = find_dtype(entry.stored_type);
  if (!stored) return dtype::f32;  // quantised numbers are decoded to float32
  return stored;
}

std::string text(std::vector<std::int64_t> const& shape) {
  std::string out = "[";
  for (auto const extent : shape) out += (out.size() > 1 ? ", " : "") + std::to_string(extent);
  return out + "]";
}

class planner {
 public:
  planner(soup_recipe const& recipe, soup_models const& models) : recipe_(recipe), models_(models) {}

  soup_plan make() {
    for (auto const& slice : recipe_.slices) {
      check_inputs(slice);
      auto const [begin, end] = range_of(slice.sources.front());
      depth_ += end - begin;
    }
    auto const &first = recipe_.slices.front(), &last = recipe_.slices.back();
    outer_tensors(first, true);
    for (auto const& slice : recipe_.slices) layers(slice);
    outer_tensors(last, false);
    tell_buffers();
    return std::move(out_);
  }

 private:
  model_names const& names(soup_source const& source) {
    auto const found = names_.find(source.model);
    return found != names_.end() ? found->second : names_.emplace(source.model, names_of(models_.at(source.model))).first->second;
  }

  std::optional<std::size_t> base_of(soup_slice const& slice) const {
    auto const& base = slice.base_model ? slice.base_model : recipe_.base_model;
    if (!base || method_of(recipe_.method).base == base_rule::ignored) return std::nullopt;
    for (std::size_t i = 0; i < slice.sources.size(); ++i)
      if (slice.sources[i].model == *base) return i;
    throw error("the base " + in_quotes(base->text()) + " is not among the models; a slice has to list it as a source");
  }

  void check_inputs(soup_slice const& slice) const {
    method_entry const& method = method_of(recipe_.method);
    std::size_t const count = slice.sources.size();
    bool const base = base_of(slice).has_value();
    std::size_t const others = count - (base ? 1 : 0);
    if (others >= method.least && others <= method.most && (base || method.base != base_rule::required)) return;
    throw error(std::string{name_of(recipe_.method)} + " takes " + std::string{method.asks} + "; " + std::to_string(count) +
                (base ? " models with a base" : " models without a base") + " were given");
  }

  void tell_buffers() {
    std::size_t count = 0;
    std::string example;
    for (auto const& [model, known] : names_) {
      count += known.buffers.size();
      if (!known.buffers.empty()) example = known.buffers.front();
    }
    if (count > 0) out_.notes.push_back("left out " + std::to_string(count) + " buffers, as " + in_quotes(example) + ", which transformers computes itself");
  }

  std::pair<std::size_t, std::size_t> range_of(soup_source const& source) {
    std::size_t const count = names(source).layers.size();
    if (!source.layers) return {0, count};
    if (source.layers->second > count)
      throw error("layer_range [" + std::to_string(source.layers->first) + ", " + std::to_string(source.layers->second) + "] of " +
                  in_quotes(source.model.text()) + ": the model has only " + std::to_string(count) + " layers");
    return *source.layers;
  }

  void layers(soup_slice const& slice) {
    auto const [first, end] = range_of(slice.sources.front());
    for (auto const& source : slice.sources)
      if (auto const [begin, stop] = range_of(source); stop - begin != end - first)
        throw error(in_quotes(slice.sources.front().model.text()) + " has " + std::to_string(end - first) + " layers and " +
                    in_quotes(source.model.text()) + " has " + std::to_string(stop - begin) + "; only models of one depth can be merged");
    for (std::size_t k = 0; k < end - first; ++k) {
      double const t = end - first > 1 ? static_cast<double>(k) / static_cast<double>(end - first - 1) : 1;
      std::vector<std::size_t> numbers;
      for (auto const& source : slice.sources) numbers.push_back(range_of(source).first + k);
      double const place = depth_ > 1 ? static_cast<double>(out_.layers) / static_cast<double>(depth_ - 1) : 1;
      layer(slice, numbers, {t, place});
      ++out_.layers;
    }
  }

  void layer(soup_slice const& slice, std::vector<std::size_t> const& numbers, tensor_place place) {
    auto const& first = names(slice.sources.front()).layers[numbers.front()];
    std::set<std::pair<std::string, std::string>> const known(first.begin(), first.end());
    for (auto const& [before, after] : first) {
      std::vector<std::string> inputs;
      for (std::size_t const number : numbers) inputs.push_back(before + std::to_string(number) + after);
      add(slice, before + std::to_string(out_.layers) + after, inputs, place);
    }
    for (std::size_t s = 1; s < numbers.size(); ++s)
      for (auto const& [before, after] : names(slice.sources[s]).layers[numbers[s]])
        if (!known.contains({before, after}))
          missing(slice.sources.front(), slice.sources[s], before + std::to_string(numbers[s]) + after);
  }

  [[noreturn]] void missing(soup_source const& without, soup_source const& with, std::string const& name) const {
    throw error("tensor " + in_quotes(name) + " is in " + in_quotes(with.model.text()) + " but not in " +
                in_quotes(without.model.text()) + "; only models of one architecture can be merged");
  }

  /// What belongs to no layer: the embedding from the first slice's models, the last norm and the head from the last's.
  void outer_tensors(soup_slice const& slice, bool first) {
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
      add(slice, name, inputs, {0, first ? 0.0 : 1.0});
    }
  }

  void add(soup_slice const& slice, std::string const& name, std::vector<std::string> const& inputs, tensor_place place) {
    planned_tensor tensor;
    tensor.base = base_of(slice);
    vocabulary_alignment const* const alignment = ends_with_any(name, vocabulary_names) ? models_.alignment() : nullptr;
    std::optional<dtype> type;
    for (std::size_t s = 0; s < inputs.size(); ++s) {
      opened_model const& model = models_.opened(slice.sources[s].model);
      if (!model.weights.contains(inputs[s])) missing(slice.sources[s], slice.sources[s == 0 ? inputs.size() - 1 : 0], inputs[s]);
      tensor_entry const& entry = model.weights.entry(inputs[s]);
      tensor.inputs.emplace_back(&model, inputs[s]);
      if (s == 0) tensor.output.shape = entry.shape;
      check_shape(slice, s, name, entry, tensor.output.shape, alignment != nullptr);
      auto const format = format_of(entry);
      type = s == 0 || type == format ? format : std::optional{type == dtype::f64 || format == dtype::f64 ? dtype::f64 : dtype::f32};
      tensor.bytes_in += entry.elements() * size_of(find_dtype(entry.stored_type).value_or(dtype::f32));
    }
    tensor.copied = !is_floating(*type);
    tensor.computed = tensor.copied ? *type : recipe_.input_dtype.value_or(*type);
    tensor.output.name = name;
    tensor.output.type = tensor.copied ? *type : recipe_.output_dtype.value_or(tensor.computed);
    if (!tensor.copied) tensor.values = look_up(recipe_, slice, place, name, inputs, tensor.base);
    if (alignment != nullptr) align(slice, *alignment, tensor);
    out_.tensors.push_back(std::move(tensor));
  }

  void check_shape(soup_slice const& slice, std::size_t s, std::string const& name, tensor_entry const& entry, std::vector<std::int64_t> const& wanted,
                   bool aligned) const {
    bool const rows_alone = !wanted.empty() && entry.shape.size() == wanted.size() && std::equal(entry.shape.begin() + 1, entry.shape.end(), wanted.begin() + 1);
    if (entry.shape == wanted || (aligned && rows_alone)) return;
    bool const vocabulary = rows_alone && ends_with_any(name, vocabulary_names);
    throw error("tensor " + in_quotes(name) + " is " + text(wanted) + " in " + in_quotes(slice.sources.front().model.text()) + " but " + text(entry.shape) +
                " in " + in_quotes(slice.sources[s].model.text()) +
                (vocabulary ? "; their vocabularies differ: --tokenizer_source (tokenizer_source in a recipe) base or union brings them together"
                            : "; only models of one architecture can be merged"));
  }

  /// Rows in the common vocabulary's order; nothing to do where every model has it already.
  void align(soup_slice const& slice, vocabulary_alignment const& alignment, planned_tensor& tensor) const {
    std::vector<vocabulary_alignment::source> sources;
    for (std::size_t s = 0; s < tensor.inputs.size(); ++s) {
      auto const& [model, name] = tensor.inputs[s];
      sources.push_back({slice.sources[s].model, static_cast<std::size_t>(model->weights.entry(name).shape.front())});
    }
    auto const& base = slice.base_model ? slice.base_model : recipe_.base_model;
    if (alignment.is_identity(sources)) return;
    tensor.orders = alignment.orders(sources, base);
    tensor.output.shape.front() = static_cast<std::int64_t>(alignment.rows());
  }

  soup_recipe const& recipe_;
  soup_models const& models_;
  std::map<model_reference, model_names> names_;
  std::size_t depth_ = 0;  ///< layers of the result
  soup_plan out_;
};

}  // namespace

std::size_t planned_tensor::width() const {
  std::size_t out = 1;
  for (std::size_t axis = 1; axis < output.shape.size(); ++axis) out *= static_cast<std::size_t>(output.shape[axis]);
  return out;
}

std::vector<tensor_input> planned_tensor::open_inputs(std::optional<dtype> rounding) const {
  std::vector<tensor_input> plain;
  for (auto const& [model, name] : inputs) plain.emplace_back(model->weights, name, rounding, model->added_to(name));
  if (orders.empty()) return plain;
  auto const sources = std::make_shared<std::vector<tensor_input>>(std::move(plain));
  std::vector<tensor_input> out;
  for (auto const& order : orders) out.emplace_back(sources, order, width(), static_cast<std::size_t>(output.shape.front()));
  return out;
}

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
