// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdio>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/interrupt.hpp>
#include <kedge/llm/soup/soup.hpp>

#include "command.hpp"

namespace kedge::cli {

// A method's parameter: a number or a truth, or several over the depth of the models, "0,0.5,1".
struct parameter_text {
  std::string text;
};

}  // namespace kedge::cli

namespace kedge::llm {

template <>
struct setting_type<cli::parameter_text> {
  static std::optional<cli::parameter_text> read(std::string_view text, number_range const&) {
    for (std::size_t begin = 0; begin <= text.size();) {
      std::size_t const end = std::min(text.find(',', begin), text.size());
      std::string_view const part = text.substr(begin, end - begin);
      auto const number = setting_type<double>::read(part, {});
      if (!setting_type<bool>::read(part, {}) && (!number || !number_range{.least = -1e9}.contains(*number))) return {};
      begin = end + 1;
    }
    return cli::parameter_text{std::string(text)};
  }
  static nlohmann::ordered_json write(cli::parameter_text const& value) { return setting_type<std::string>::write(value.text); }
  static bool valid(cli::parameter_text const&, number_range const&) { return true; }
  static std::string form(number_range const&) { return "a number, true, false, or several over the depth: 0,0.5,1"; }
};

}  // namespace kedge::llm

namespace kedge::cli {
namespace {

struct soup_options {
  std::vector<std::string> models;
  std::filesystem::path recipe, base_model;
  llm::soup_method method = llm::soup_method::linear;
  std::string dtype, evaluate, shard_size = "50GB";
  std::map<std::string, parameter_text> parameters;
  bool allow_unnormalized = false, dry_run = false, json = false;
  llm::soup_settings settings;
};

void declare(llm::settings_list& list, soup_options& o) {
  list.add("models", o.models, "Hugging Face folders or GGUF files, each with its weight after a colon if it is to have one").positional();
  list.add("recipe", o.recipe, "YAML file in mergekit's format instead of models and flags; --config FILE.yml means the same");
  list.add("method", o.method, "how the models become one");
  list.add("base_model", o.base_model, "what the other models were trained from; slerp takes the first model without it");
  list.add("output_dir", o.settings.output_dir, "folder of the result");
  list.add("dtype", o.dtype, "of the result: float32, bfloat16 or float16; none: the models'");
  list.add("evaluate", o.evaluate, "for greedy: a command that gets a model as its last argument and prints one number, larger is better");
  list.add("max_shard_size", o.shard_size, "largest weights file, as 5GB or 500MB");
  list.add("threads", o.settings.threads, "0: all cores; changes no result").at_most(4096);
  list.add("seed", o.settings.seed, "of dare and della").at_most(1.8446744073709552e19);
  list.add("allow_unnormalized", o.allow_unnormalized, "linear with weights that don't sum to one, as they are");
  list.add("allow_tokenizer_mismatch", o.settings.allow_tokenizer_mismatch, "merge though the tokenizers differ; the result gets the base's or first one");
  list.add("overwrite_output_dir", o.settings.overwrite_output_dir, "replace what is there");
  list.add("dry_run", o.dry_run, "check everything and say what would be read and written; write nothing");
  list.add("json", o.json, "print the summary as one JSON object");
  list.add("quiet", o.settings.quiet, "no progress, no notes");
  list.group("Parameters of the methods");
  for (auto const& info : llm::soup_parameter_table())
    if (info.name != "weight" && info.name != "int8_mask") list.add(std::string{info.name}, o.parameters[std::string{info.name}], std::string{info.help});
}

/// `--config FILE.yml` is mergekit's recipe; any other suffix stays a file of flags.
arguments with_recipe(arguments args) {
  auto const is_yaml = [](std::string const& text) { return text.ends_with(".yml") || text.ends_with(".yaml"); };
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--config" && i + 1 < args.size() && is_yaml(args[i + 1])) args[i] = "--recipe";
    if (args[i].starts_with("--config=") && is_yaml(args[i])) args[i].replace(0, std::string_view{"--config"}.size(), "--recipe");
  }
  return args;
}

llm::soup_recipe recipe_of(soup_options const& o) {
  std::map<std::string, std::string> given;
  for (auto const& [name, value] : o.parameters)
    if (!value.text.empty()) given[name] = value.text;
  if (o.recipe.empty()) return llm::make_recipe(o.method, o.models, o.base_model, o.dtype, given, o.allow_unnormalized);
  if (!o.models.empty() || !given.empty() || !o.base_model.empty() || !o.dtype.empty())
    throw llm::usage_error("a recipe says all about the models; leave out models, --base_model, --dtype and parameters, or the recipe");
  return llm::read_recipe(o.recipe);
}

nlohmann::ordered_json summary_of(llm::soup_recipe const& recipe, llm::soup_size const& size, double seconds) {
  return {{"method", llm::name_of(recipe.method)}, {"tensors", size.tensors}, {"parameters", size.parameters}, {"bytes_in", size.bytes_in},
          {"bytes_out", size.bytes_out}, {"shards", size.shards}, {"seconds", seconds}};
}

void print(nlohmann::ordered_json const& summary, bool json) {
  if (json) {
    std::printf("%s\n", summary.dump().c_str());
    return;
  }
  for (auto const& [key, value] : summary.items())
    std::printf("%-12s %s\n", key.c_str(), value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str());
}

}  // namespace

int run_soup(arguments const& args) {
  soup_options o;
  command_line line("kedge soup", "One model from several: averages and mixtures of checkpoints, streamed from disk to disk.");
  declare(line.settings, o);
  line.parse(with_recipe(args));
  o.settings.tells = llm::screen(stderr);
  if (o.settings.output_dir.empty() && !o.dry_run) throw llm::usage_error("--output_dir is required");
  if (o.recipe.empty() && o.models.empty()) throw llm::usage_error("models or --recipe is required");
  o.settings.max_shard_bytes = llm::parse_size(o.shard_size);
  llm::soup_recipe const recipe = recipe_of(o);
  bool const greedy = recipe.method == llm::soup_method::greedy;
  if (greedy && o.evaluate.empty() && !o.dry_run) throw llm::usage_error("--evaluate is required for a greedy soup");
  if (!greedy && !o.evaluate.empty()) throw llm::usage_error("--evaluate is for --method greedy");
  llm::interrupt_guard const interrupt;
  o.settings.stop = [&] { return interrupt.requested(); };
  auto const begin = std::chrono::steady_clock::now();
  auto const elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(); };
  try {
    nlohmann::ordered_json summary;
    if (greedy && !o.dry_run) {
      auto const [size, steps] = llm::make_greedy_soup(recipe, o.evaluate, o.settings);
      summary = summary_of(recipe, size, elapsed());
      for (auto const& step : steps)
        summary["ingredients"].push_back({{"model", step.model.string()}, {"own_score", step.own_score}, {"score", step.score}, {"kept", step.kept}});
    } else {
      llm::soup_size const size = o.dry_run ? llm::plan_soup(recipe, o.settings) : llm::make_soup(recipe, o.settings);
      summary = summary_of(recipe, size, elapsed());
    }
    if (!o.settings.output_dir.empty()) summary["output_dir"] = o.settings.output_dir.string();
    if (o.dry_run) summary["dry_run"] = true;
    if (o.json || !o.settings.quiet) print(summary, o.json);
    return exit_done;
  } catch (llm::soup_interrupted const&) {
    std::fprintf(stderr, "kedge soup: interrupted; nothing was written\n");
    return exit_interrupted;
  }
}

}  // namespace kedge::cli
