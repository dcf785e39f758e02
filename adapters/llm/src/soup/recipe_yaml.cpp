// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // any_of, find
#include <cmath>      // isfinite, floor
#include <set>        // set

#include <yaml-cpp/yaml.h>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/mapped_file.hpp>
#include <kedge/llm/soup/recipe.hpp>

namespace kedge::llm {
namespace {

using std::filesystem::path;

/// Turns the nodes of one file into a recipe; every complaint carries the file and the node's line.
class reader {
 public:
  explicit reader(path file) : file_(std::move(file)) {}

  soup_recipe recipe(YAML::Node const& root) {
    if (!root.IsMap()) fail(root, "a recipe is a mapping with merge_method and models or slices");
    check_keys(root, "a recipe",
               {"merge_method", "models", "slices", "base_model", "parameters", "dtype", "out_dtype", "tokenizer_source",
                "tokenizer", "chat_template"},
               {{"modules", "models of several parts are not supported; write models or slices at the top"}});
    soup_recipe out;
    method_ = out.method = method(root);
    out.round_to_input_dtype = true;
    out.parameters = parameters(root["parameters"], out.notes);
    if (root["base_model"]) out.base_model = model(root["base_model"], "base_model");
    if (root["dtype"]) out.input_dtype = number_format(root["dtype"], "dtype");
    if (root["out_dtype"]) out.output_dtype = number_format(root["out_dtype"], "out_dtype");
    tokenizer(root, out);
    chat_template(root, out);
    bool const has_models = present(root["models"]), has_slices = present(root["slices"]);
    if (has_models == has_slices) fail(root, "a recipe has either models or slices");
    if (has_models)
      out.slices.push_back(models(root["models"], out));
    else
      for (auto const& node : list(root["slices"], "slices")) out.slices.push_back(slice(node, out));
    return out;
  }

 private:
  using refusals = std::vector<std::pair<std::string, std::string>>;

  [[noreturn]] void fail(YAML::Node const& node, std::string const& why) const {
    int const line = node.Mark().line;
    throw error(in_quotes(file_.string()) + (line >= 0 ? ", line " + std::to_string(line + 1) : "") + ": " + why);
  }

  static bool present(YAML::Node const& node) { return node && !node.IsNull() && (!node.IsSequence() || node.size() > 0); }

  void check_keys(YAML::Node const& map, std::string const& what, std::vector<std::string> const& known,
                  refusals const& refused = {}) const {
    std::set<std::string> seen;
    for (auto const& item : map) {
      std::string const key = text(item.first, "a key of " + what);
      if (!seen.insert(key).second) fail(item.first, in_quotes(key) + " appears twice");
      for (auto const& [name, why] : refused)
        if (key == name) fail(item.first, in_quotes(key) + ": " + why);
      if (std::find(known.begin(), known.end(), key) != known.end()) continue;
      std::string names;
      for (auto const& name : known) names += (names.empty() ? "" : ", ") + name;
      fail(item.first, in_quotes(key) + " is not supported; " + what + " may have " + names);
    }
  }

  std::string text(YAML::Node const& node, std::string const& what) const {
    if (!node.IsDefined() || !node.IsScalar()) fail(node, what + " should be a text or number");
    return node.Scalar();
  }

  YAML::Node list(YAML::Node const& node, std::string const& what) const {
    if (!node.IsSequence()) fail(node, what + " should be a list");
    return node;
  }

  soup_method method(YAML::Node const& root) const {
    if (!root["merge_method"]) fail(root, "merge_method is missing");
    try {
      auto const out = soup_method_from_name(text(root["merge_method"], "merge_method"));
      if (out != soup_method::greedy) return out;
    } catch (error const& why) {
      fail(root["merge_method"], why.what());
    }
    fail(root["merge_method"], "a greedy soup needs an evaluation; use --method greedy --evaluate CMD");
  }

  dtype number_format(YAML::Node const& node, std::string const& what) const {
    std::string name = text(node, what);
    if (name.starts_with("torch.")) name = name.substr(6);
    auto const type = find_dtype(name);
    if (type != dtype::f32 && type != dtype::f16 && type != dtype::bf16)
      fail(node, what + " " + in_quotes(name) + " is not supported; take float32, bfloat16 or float16");
    return *type;
  }

  /// "DIR", or {model: {path: DIR}} as mergekit writes it itself.
  path model(YAML::Node const& node, std::string const& what) const {
    if (node.IsMap()) {
      check_keys(node, "a model", {"model", "path"},
                 {{"lora", "adapters are not merged in; merge the adapter into its model first"},
                  {"revision", "models are not fetched; pass a folder"},
                  {"override_architecture", "the architecture is read from config.json"}});
      return model(node["model"] ? node["model"] : node["path"], what);
    }
    path const out = text(node, what);
    std::error_code ignored;
    if (std::filesystem::exists(out, ignored)) return out;
    if (out.string().find('+') != std::string::npos)
      fail(node, in_quotes(out.string()) + ": adapters after '+' are not merged in; merge the adapter into its model first");
    fail(node, "no model at " + in_quotes(out.string()) + ": models are not fetched; pass a Hugging Face folder or a .gguf file");
  }

  void tokenizer(YAML::Node const& root, soup_recipe& out) const {
    YAML::Node source = root["tokenizer_source"];
    if (YAML::Node const node = root["tokenizer"]; present(node)) {
      if (present(source)) fail(node, "a recipe has either tokenizer or tokenizer_source");
      if (!node.IsMap()) fail(node, "tokenizer should be a mapping");
      check_keys(node, "tokenizer", {"source"},
                 {{"tokens", "tokens are not rearranged; kedge merges models of one vocabulary"},
                  {"pad_to_multiple_of", "embeddings are not padded; kedge merges models of one vocabulary"}});
      source = node["source"];
    }
    if (!present(source)) return;
    // Models have to have one vocabulary, so that the union of all is the base's, and any model's.
    if (source.IsScalar() && (source.Scalar() == "union" || source.Scalar() == "base")) {
      if (source.Scalar() == "base" && !out.base_model) fail(source, "the tokenizer of the base is asked for, but there is no base_model");
      return;
    }
    out.tokenizer_source = model(source, "tokenizer_source");
  }

  void chat_template(YAML::Node const& root, soup_recipe& out) const {
    if (!present(root["chat_template"])) return;
    out.chat_template = text(root["chat_template"], "chat_template");
    if (out.chat_template.find('{') == std::string::npos)
      fail(root["chat_template"], "chat_template " + in_quotes(out.chat_template) +
                                      " is a name; write the template itself, or leave it out to keep the models'");
  }

  soup_slice models(YAML::Node const& node, soup_recipe& out) const {
    soup_slice slice;
    for (auto const& item : list(node, "models")) {
      if (!item.IsMap()) fail(item, "an entry of models is a mapping with model and parameters");
      check_keys(item, "an entry of models", {"model", "parameters"}, {{"layer_range", "layer ranges belong into slices"}});
      add_source(slice, item, out);
    }
    // mergekit takes the base in where it is not listed, as one more model.
    bool const listed = std::any_of(slice.sources.begin(), slice.sources.end(), [&](auto const& s) { return s.model == out.base_model; });
    if (out.base_model && !listed) slice.sources.push_back({*out.base_model, std::nullopt, {}});
    return slice;
  }

  soup_slice slice(YAML::Node const& node, soup_recipe& out) const {
    if (!node.IsMap()) fail(node, "a slice is a mapping with sources");
    check_keys(node, "a slice", {"sources", "base_model", "parameters"},
               {{"residual_weight", "it is not supported"}});
    soup_slice slice;
    slice.parameters = parameters(node["parameters"], out.notes);
    if (node["base_model"]) slice.base_model = model(node["base_model"], "base_model");
    if (!present(node["sources"])) fail(node, "a slice needs sources");
    for (auto const& item : list(node["sources"], "sources")) {
      if (!item.IsMap()) fail(item, "a source is a mapping with model and layer_range");
      check_keys(item, "a source", {"model", "layer_range", "parameters"});
      add_source(slice, item, out);
      slice.sources.back().layers = range(item);
    }
    auto const count = [](soup_source const& s) { return s.layers->second - s.layers->first; };
    for (auto const& source : slice.sources)
      if (count(source) != count(slice.sources.front())) fail(node, "the sources of a slice have to have equally many layers");
    return slice;
  }

  void add_source(soup_slice& slice, YAML::Node const& item, soup_recipe& out) const {
    if (!item["model"]) fail(item, "model is missing");
    soup_source source{model(item["model"], "model"), std::nullopt, parameters(item["parameters"], out.notes)};
    for (auto const& other : slice.sources)
      if (other.model == source.model) fail(item, "the model " + in_quotes(source.model.string()) + " is listed twice");
    slice.sources.push_back(std::move(source));
  }

  std::pair<std::size_t, std::size_t> range(YAML::Node const& item) const {
    YAML::Node const node = item["layer_range"];
    if (!node || !node.IsSequence() || node.size() != 2) fail(item, "layer_range should be [first, end]");
    auto const bound = [&](YAML::Node const& n) {
      long long value = -1;
      if (!YAML::convert<long long>::decode(n, value) || value < 0 || value > 1'000'000) fail(n, "a layer is a whole number from 0");
      return static_cast<std::size_t>(value);
    };
    std::pair const out{bound(node[0]), bound(node[1])};
    if (out.first >= out.second) fail(node, "layer_range [" + std::to_string(out.first) + ", " + std::to_string(out.second) + "] is empty");
    return out;
  }

  soup_parameters parameters(YAML::Node const& node, std::vector<std::string>& notes) const {
    soup_parameters out;
    if (!present(node)) return out;
    if (!node.IsMap()) fail(node, "parameters should be a mapping");
    std::set<std::string> seen;
    for (auto const& item : node) {
      std::string const name = text(item.first, "the name of a parameter");
      if (!seen.insert(name).second) fail(item.first, in_quotes(name) + " appears twice");
      parameter_info const* info = nullptr;
      for (auto const& known : soup_parameter_table())
        if (known.name == name) info = &known;
      if (info == nullptr) fail(item.first, "there is no parameter " + in_quotes(name));
      bool const read = std::find(info->methods.begin(), info->methods.end(), method_) != info->methods.end();
      if (!read || name == "int8_mask") notes.push_back(in_quotes(name) + " has no effect on " + std::string{name_of(method_)});
      out[name] = rules(item.second, *info);
    }
    return out;
  }

  std::vector<parameter_rule> rules(YAML::Node const& node, parameter_info const& info) const {
    bool const conditional = node.IsMap() || (node.IsSequence() && node.size() > 0 && node[0].IsMap());
    if (!conditional) return {{"", values(node, info)}};
    std::vector<parameter_rule> out;
    auto const add = [&](YAML::Node const& rule) {
      if (!rule.IsMap()) fail(rule, std::string{info.name} + " mixes numbers and filters");
      check_keys(rule, "a filter", {"filter", "value"});
      if (!rule["value"]) fail(rule, "a filter without value");
      out.push_back({present(rule["filter"]) ? text(rule["filter"], "filter") : "", values(rule["value"], info)});
    };
    if (node.IsMap())
      add(node);
    else
      for (auto const& rule : node) add(rule);
    return out;
  }

  std::vector<double> values(YAML::Node const& node, parameter_info const& info) const {
    if (!node.IsSequence()) return {value(node, info)};
    std::vector<double> out;
    for (auto const& item : node) out.push_back(value(item, info));
    return out;
  }

  double value(YAML::Node const& node, parameter_info const& info) const {
    std::string const name{info.name};
    double number = 0;
    bool truth = false;
    bool const is_number = node.IsScalar() && YAML::convert<double>::decode(node, number);
    if (info.type == parameter_info::kind::boolean) {
      if (is_number && (number == 0 || number == 1)) return number;
      if (!node.IsScalar() || !YAML::convert<bool>::decode(node, truth)) fail(node, name + " should be true or false");
      return truth ? 1 : 0;
    }
    if (!is_number || !std::isfinite(number)) fail(node, name + " should be a finite number");
    if (info.type == parameter_info::kind::integer && number != std::floor(number)) fail(node, name + " should be a whole number");
    return number;
  }

  path file_;
  soup_method method_ = soup_method::linear;
};

}  // namespace

soup_recipe read_recipe(path const& yaml) {
  mapped_file const file(yaml);
  try {
    return reader(yaml).recipe(YAML::Load(std::string{file.text()}));
  } catch (YAML::Exception const& why) {
    std::string const line = why.mark.is_null() ? "" : ", line " + std::to_string(why.mark.line + 1);
    throw error(in_quotes(yaml.string()) + line + ": not valid YAML: " + why.msg);
  }
}

}  // namespace kedge::llm
