// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // any_of, find, max, min
#include <cmath>      // isfinite, floor

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/nearest.hpp>
#include <kedge/llm/soup/recipe.hpp>

#include "../base/yaml_value.hpp"
#include "adapter.hpp"
#include "recipe_parameters.hpp"

namespace kedge::llm {
namespace {

using std::filesystem::path;

/// Turns the values of one file into a recipe; every complaint carries the file and the value's line.
class reader {
 public:
  reader(path const& file, std::vector<std::string>& notes) : file_(file), notes_(notes) {}

  soup_recipe recipe(yaml_value const& root) {
    if (root.kind != yaml_kind::mapping) fail(root, "a recipe is a mapping with merge_method and models or slices");
    tell_unknown(root, "a recipe",
                 {"merge_method", "models", "slices", "modules", "base_model", "parameters", "dtype", "out_dtype",
                  "tokenizer_source", "tokenizer", "chat_template"});
    soup_recipe out;
    method_ = out.method = method(root);
    out.round_to_input_dtype = true;
    out.parameters = parameters(root["parameters"]);
    if (!root["base_model"].is_null()) out.base_model = model(root["base_model"], "base_model");
    out.input_dtype = number_format(root["dtype"], "dtype");
    out.output_dtype = number_format(root["out_dtype"], "out_dtype");
    tokenizer(root, out);
    if (present(root["chat_template"])) out.chat_template = chat_template(root["chat_template"]);
    yaml_value const& body = module(root, out);
    bool const has_models = present(body["models"]), has_slices = present(body["slices"]);
    if (has_models == has_slices) fail(body, "a recipe has either models or slices");
    if (has_models)
      out.slices.push_back(models(body["models"], out));
    else
      for (auto const& item : list(body["slices"], "slices").items) out.slices.push_back(slice(item, out));
    return out;
  }

 private:
  [[noreturn]] void fail(yaml_value const& at, std::string const& why) const { throw error(place_of(file_, at) + ": " + why); }

  void tell(yaml_value const& at, std::string const& what) { notes_.push_back(place_of(file_, at) + ": " + what); }

  static bool present(yaml_value const& value) {
    return !value.is_null() && (value.kind != yaml_kind::list || !value.items.empty()) &&
           (value.kind != yaml_kind::mapping || !value.pairs.empty()) &&
           (value.kind != yaml_kind::text || !value.text.empty());
  }

  /// Keys that mean nothing are passed over, as mergekit does, but not in silence.
  void tell_unknown(yaml_value const& map, std::string const& what, std::vector<std::string> const& known,
                    std::vector<std::string> const& idle = {}) {
    for (auto const& [key, value] : map.pairs) {
      if (std::find(known.begin(), known.end(), key) != known.end()) continue;
      bool const is_idle = std::find(idle.begin(), idle.end(), key) != idle.end(),
                 is_parameter = find_parameter(key, method_) != nullptr;
      std::string const close = nearest(key, known);
      std::size_t const near = std::max<std::size_t>(1, key.size() / 3);
      std::string hint = is_idle || edit_distance(key, close) > near ? "" : "; the nearest is " + in_quotes(close);
      if (!is_idle && is_parameter) hint = "; it is a parameter, and belongs under parameters";
      tell(value, in_quotes(key) + (is_idle ? " has no effect in " : " is no key of ") + what + " and is passed over" + hint);
    }
  }

  yaml_value const& list(yaml_value const& value, std::string const& what) const {
    if (value.kind != yaml_kind::list) fail(value, what + " should be a list");
    return value;
  }

  std::string text(yaml_value const& value, std::string const& what) const {
    if (!value.is_scalar()) fail(value, what + " should be a text");
    return value.text;
  }

  soup_method method(yaml_value const& root) const {
    yaml_value const& value = root["merge_method"];
    if (!present(value)) fail(root, "merge_method is missing");
    try {
      auto const out = soup_method_from_name(text(value, "merge_method"));
      if (out != soup_method::greedy) return out;
    } catch (error const& why) {
      fail(value, why.what());
    }
    fail(value, "a greedy soup needs an evaluation; use --method greedy --evaluate CMD");
  }

  /// The recipe itself, or the one module of models that have one.
  yaml_value const& module(yaml_value const& root, soup_recipe& out) {
    yaml_value const& modules = root["modules"];
    if (!present(modules)) return root;
    bool const alone =
        modules.kind == yaml_kind::mapping && modules.pairs.size() == 1 && modules.pairs.front().first == "default";
    if (!alone)
      fail(modules, "modules of several parts are not supported; write models or slices at the top, or modules: {default: …}");
    if (present(root["models"]) || present(root["slices"]))
      fail(modules, "a recipe has models, slices or modules, one of them");
    yaml_value const& body = modules.pairs.front().second;
    if (body.kind != yaml_kind::mapping) fail(body, "a module is a mapping with models or slices");
    tell_unknown(body, "a module", {"models", "slices", "parameters"});
    for (auto& [name, rules] : parameters(body["parameters"])) {  // before the recipe's
      auto& all = out.parameters[name];
      all.insert(all.begin(), rules.begin(), rules.end());
    }
    return body;
  }

  std::optional<dtype> number_format(yaml_value const& value, std::string const& what) const {
    if (!present(value)) return std::nullopt;
    std::string name = text(value, what);
    if (name.starts_with("torch.")) name = name.substr(6);
    auto const type = find_dtype(name);
    if (!type || !is_floating(*type) || name != torch_name_of(*type))
      fail(value, what + " " + in_quotes(name) + " is not supported; take float32, bfloat16, float16 or float64");
    return type;
  }

  /// "DIR", "DIR+ADAPTER", or {model: {path: DIR}, lora: {path: ADAPTER}} as mergekit writes it itself.
  model_reference model(yaml_value const& value, std::string const& what) {
    try {
      if (value.kind != yaml_kind::mapping) return find_model(without_revisions(value, text(value, what)));
      tell_unknown(value, "a model", {"model", "path", "lora"}, {"revision", "override_architecture"});
      yaml_value const& inner = value["model"].is_null() ? value["path"] : value["model"];
      if (inner.is_null()) fail(value, "a model is a folder, or a mapping with model");
      model_reference out = model(inner, what);
      if (!value["lora"].is_null()) out = with_adapter(out.model, path_in(value["lora"]));
      return out;
    } catch (error const& why) {
      std::string const line = why.what(), place = place_of(file_, value);
      if (line.starts_with(in_quotes(file_.string()))) throw;
      throw error(place + ": " + line);
    }
  }

  /// "DIR@REVISION+ADAPTER@REVISION" without what follows '@' where DIR is a folder here, which has one version; names of the hub have several.
  std::string without_revisions(yaml_value const& at, std::string const& name) {
    std::error_code ignored;
    std::string out;
    if (name.find('@') == std::string::npos || std::filesystem::exists(name, ignored)) return name;
    for (std::size_t begin = 0; begin <= name.size();) {
      std::size_t const end = std::min(name.find('+', begin), name.size());
      std::string const part = name.substr(begin, end - begin);
      std::size_t const sign = std::filesystem::exists(part, ignored) ? std::string::npos : part.find('@');
      bool const folder = sign != std::string::npos && std::filesystem::exists(part.substr(0, sign), ignored);
      std::size_t const revision = folder ? sign : std::string::npos;
      if (folder) tell(at, in_quotes(part.substr(revision)) + " has no effect on a folder");
      out += (out.empty() ? "" : "+") + part.substr(0, revision);
      begin = end + 1;
    }
    return out;
  }

  std::string path_in(yaml_value const& value) {
    if (value.kind != yaml_kind::mapping) return text(value, "lora");
    tell_unknown(value, "lora", {"path"}, {"revision"});
    return text(value["path"], "the path of lora");
  }

  void tokenizer(yaml_value const& root, soup_recipe& out) {
    yaml_value const &short_form = root["tokenizer_source"], &value = root["tokenizer"];
    if (!value.is_null()) {
      if (present(short_form)) fail(value, "a recipe has either tokenizer or tokenizer_source");
      if (value.kind != yaml_kind::mapping) fail(value, "tokenizer should be a mapping");
      tell_unknown(value, "tokenizer", {"source", "tokens", "pad_to_multiple_of"});
      out.vocabulary.source = vocabulary_source::every_model;
      if (present(value["source"])) vocabulary(value["source"], out);
      tokens(value["tokens"], out);
      if (yaml_value const& pad = value["pad_to_multiple_of"]; !pad.is_null()) {
        double const rows = read_number(pad, "pad_to_multiple_of", parameter_info::kind::integer, file_);
        if (rows < 0 || rows > 1e9) fail(pad, "pad_to_multiple_of should be a whole number from 0");
        out.vocabulary.pad_to_multiple_of = static_cast<std::size_t>(rows);
      }
    } else if (present(short_form)) {
      vocabulary(short_form, out);
    }
  }

  void vocabulary(yaml_value const& value, soup_recipe& out) {
    if (value.is_scalar())
      if (auto const source = from_name<vocabulary_source>(value.text); source && *source != vocabulary_source::models) {
        out.vocabulary.source = *source;
        return;
      }
    out.vocabulary.source = vocabulary_source::models;
    yaml_value named = value;
    constexpr std::string_view older = "model:";  // how older versions of mergekit wrote it
    if (std::error_code ignored; named.text.starts_with(older) && !std::filesystem::exists(named.text, ignored))
      named.text.erase(0, older.size());
    out.vocabulary.model = model(named, "tokenizer_source");
  }

  void tokens(yaml_value const& value, soup_recipe& out) {
    if (value.is_null()) return;
    if (value.kind != yaml_kind::mapping) fail(value, "tokens should be a mapping from tokens to where their rows come from");
    for (auto const& [token, choice] : value.pairs) {
      token_source from;
      if (choice.kind != yaml_kind::mapping) fail(choice, "token " + in_quotes(token) + " should be a mapping with source");
      tell_unknown(choice, "a token", {"source", "force"});
      if (!choice["force"].is_null())
        from.force = read_number(choice["force"], "force", parameter_info::kind::boolean, file_) != 0;
      if (!choice["source"].is_null()) token_from(choice["source"], from);
      out.vocabulary.tokens.emplace_back(token, from);
    }
  }

  void token_from(yaml_value const& value, token_source& from) {
    yaml_value const& kind = value["kind"];
    from.from = token_source::kind::of_model;
    if (kind.is_null()) {
      from.model = model(value, "the source of a token");
    } else if (kind.text == "zero") {
      tell_unknown(value, "a token's source", {"kind"});
      from.from = token_source::kind::zero;
    } else if (kind.text == "model_token") {
      tell_unknown(value, "a token's source", {"kind", "model", "token", "token_id"});
      if (value["token"].is_null() == value["token_id"].is_null())
        fail(value, "a source of kind model_token has either token or token_id");
      if (value["model"].is_null()) fail(value, "a source of kind model_token has a model");
      from.model = model(value["model"], "model");
      from.from = value["token"].is_null() ? token_source::kind::of_id : token_source::kind::of_token;
      if (value["token"].is_null()) {
        from.id = static_cast<std::int64_t>(read_number(value["token_id"], "token_id", parameter_info::kind::integer, file_));
      } else {
        from.token = text(value["token"], "token");
      }
    } else {
      fail(kind, "there is no source of kind " + in_quotes(kind.text) + "; there are model_token and zero");
    }
  }

  std::string chat_template(yaml_value const& value) const {
    try {
      return chat_template_choice(text(value, "chat_template"));
    } catch (error const& why) {
      fail(value, why.what());
    }
  }

  soup_slice models(yaml_value const& value, soup_recipe& out) {
    soup_slice slice;
    for (auto const& item : list(value, "models").items) {
      if (item.kind != yaml_kind::mapping) fail(item, "an entry of models is a mapping with model and parameters");
      tell_unknown(item, "an entry of models", {"model", "parameters"}, {"layer_range"});
      add_source(slice, item);
    }
    // mergekit takes the base in where it is not listed, as one more model.
    bool const listed =
        std::any_of(slice.sources.begin(), slice.sources.end(), [&](auto const& s) { return s.model == out.base_model; });
    if (out.base_model && !listed) slice.sources.push_back({*out.base_model, std::nullopt, {}});
    return slice;
  }

  soup_slice slice(yaml_value const& value, soup_recipe&) {
    if (value.kind != yaml_kind::mapping) fail(value, "a slice is a mapping with sources");
    tell_unknown(value, "a slice", {"sources", "base_model", "parameters"}, {"residual_weight"});
    soup_slice slice;
    slice.parameters = parameters(value["parameters"]);
    if (!value["base_model"].is_null()) slice.base_model = model(value["base_model"], "base_model");
    if (!present(value["sources"])) fail(value, "a slice needs sources");
    for (auto const& item : list(value["sources"], "sources").items) {
      if (item.kind != yaml_kind::mapping) fail(item, "a source is a mapping with model and layer_range");
      tell_unknown(item, "a source", {"model", "layer_range", "parameters"});
      add_source(slice, item);
      slice.sources.back().layers = range(item);
    }
    auto const count = [](soup_source const& s) { return s.layers->second - s.layers->first; };
    for (auto const& source : slice.sources)
      if (count(source) != count(slice.sources.front())) fail(value, "the sources of a slice have to have equally many layers");
    return slice;
  }

  void add_source(soup_slice& slice, yaml_value const& item) {
    if (item["model"].is_null()) fail(item, "model is missing");
    soup_source source{model(item["model"], "model"), std::nullopt, parameters(item["parameters"])};
    for (auto const& other : slice.sources)
      if (other.model == source.model) fail(item, "the model " + in_quotes(source.model.text()) + " is listed twice");
    slice.sources.push_back(std::move(source));
  }

  std::pair<std::size_t, std::size_t> range(yaml_value const& item) const {
    yaml_value const& value = item["layer_range"];
    if (value.kind != yaml_kind::list || value.items.size() != 2) fail(item, "layer_range should be [first, end]");
    auto const bound = [&](yaml_value const& one) {
      double const layer = read_number(one, "a layer", parameter_info::kind::integer, file_);
      if (layer < 0 || layer > 1e6) fail(one, "a layer is a whole number from 0");
      return static_cast<std::size_t>(layer);
    };
    std::pair const out{bound(value.items[0]), bound(value.items[1])};
    if (out.first >= out.second)
      fail(value, "layer_range [" + std::to_string(out.first) + ", " + std::to_string(out.second) + "] is empty");
    return out;
  }

  soup_parameters parameters(yaml_value const& value) {
    soup_parameters out;
    if (value.is_null()) return out;
    if (value.kind != yaml_kind::mapping) fail(value, "parameters should be a mapping");
    std::vector<std::string> known;
    for (auto const& info : soup_parameter_table())
      if (info.is_read_by(method_)) known.emplace_back(info.name);
    for (auto const& [name, setting] : value.pairs) {
      parameter_info const* const info = find_parameter(name, method_);
      if (info == nullptr || !info->is_read_by(method_) || name == "int8_mask") tell_idle(setting, name, known);
      if (info == nullptr || setting.is_null()) continue;
      if (info->is_read_by(method_))
        out[name] = read_rules(setting, *info, file_,
                               [&](yaml_value const& rule) { tell_unknown(rule, "a filter", {"filter", "value"}); });
    }
    return out;
  }

  void tell_idle(yaml_value const& at, std::string const& name, std::vector<std::string> const& known) {
    std::string const close = nearest(name, known);
    bool const is_near =
        find_parameter(name, method_) == nullptr && edit_distance(name, close) <= std::max<std::size_t>(1, name.size() / 3);
    tell(at, in_quotes(name) + " has no effect on " + std::string{name_of(method_)} +
                 (is_near ? "; the nearest parameter is " + in_quotes(close) : ""));
  }

  path const& file_;
  std::vector<std::string>& notes_;
  soup_method method_ = soup_method::linear;
};

}  // namespace

soup_recipe read_recipe(path const& yaml) {
  yaml_document document = read_yaml(yaml);
  soup_recipe out = reader(yaml, document.notes).recipe(document.root);
  out.notes = std::move(document.notes);
  return out;
}

}  // namespace kedge::llm
