// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdio>

#include <kedge/llm/files/error.hpp>
#include <kedge/llm/files/interrupt.hpp>
#include <kedge/llm/soup/soup.hpp>

#include "command.hpp"

namespace kedge::cli {
namespace {

struct soup_options {
  std::vector<std::string> models;
  std::filesystem::path recipe, base_model;
  std::string method = "linear", dtype, evaluate, shard_size = "50GB";
  std::map<std::string, std::string> parameters;
  bool allow_unnormalized = false, dry_run = false, json = false;
  llm::soup_settings settings;
};

void add_options(CLI::App& app, soup_options& o) {
  app.add_option("models", o.models, "Hugging Face folders or GGUF files, each with its weight after a colon if it is to have one");
  app.add_option("--recipe", o.recipe, "YAML file in mergekit's format instead of models and flags; --config FILE.yml means the same");
  app.add_option("--method", o.method, "linear, slerp, nuslerp, multislerp, karcher, task_arithmetic, ties, dare_linear, dare_ties, della, della_linear, "
                                       "breadcrumbs, breadcrumbs_ties, model_stock, passthrough, expo or greedy")->capture_default_str();
  app.add_option("--base_model", o.base_model, "what the other models were trained from; slerp takes the first model without it");
  app.add_option("--output_dir", o.settings.output_dir, "folder of the result");
  app.add_option("--dtype", o.dtype, "of the result: float32, bfloat16 or float16; else the models'");
  app.add_option("--evaluate", o.evaluate, "for greedy: a command that gets a model as its last argument and prints one number, larger is better");
  app.add_option("--max_shard_size", o.shard_size, "largest weights file, as 5GB or 500MB")->capture_default_str();
  app.add_option("--threads", o.settings.threads, "0: all cores; changes no result")->capture_default_str();
  app.add_option("--seed", o.settings.seed, "of dare and della")->capture_default_str();
  app.add_flag("--allow_unnormalized", o.allow_unnormalized, "linear with weights that don't sum to one, as they are");
  app.add_flag("--allow_tokenizer_mismatch", o.settings.allow_tokenizer_mismatch, "merge though the tokenizers differ; the result gets the base's or first one");
  app.add_flag("--overwrite_output_dir", o.settings.overwrite_output_dir, "replace what is there");
  app.add_flag("--dry_run", o.dry_run, "check everything and say what would be read and written; write nothing");
  app.add_flag("--json", o.json, "print the summary as one JSON object");
  app.add_flag("--quiet", o.settings.quiet, "no progress, no notes");
  for (auto const& info : llm::soup_parameter_table())
    if (info.name != "weight" && info.name != "int8_mask")
      app.add_option("--" + std::string{info.name}, o.parameters[std::string{info.name}], std::string{info.help})->group("Parameters of the methods");
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
    if (!value.empty()) given[name] = value;
  if (o.recipe.empty()) return llm::make_recipe(llm::soup_method_from_name(o.method), o.models, o.base_model, o.dtype, given, o.allow_unnormalized);
  if (!o.models.empty() || !given.empty() || !o.base_model.empty() || !o.dtype.empty())
    throw CLI::ValidationError("a recipe says all about the models; leave out models, --base_model, --dtype and parameters, or the recipe");
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
  CLI::App app("One model from several: averages and mixtures of checkpoints, streamed from disk to disk.", "kedge soup");
  add_options(app, o);
  parse(app, with_recipe(args));
  if (o.settings.output_dir.empty() && !o.dry_run) throw CLI::RequiredError("--output_dir");
  if (o.recipe.empty() && o.models.empty()) throw CLI::RequiredError("models or --recipe");
  o.settings.max_shard_bytes = llm::parse_size(o.shard_size);
  llm::soup_recipe const recipe = recipe_of(o);
  bool const greedy = recipe.method == llm::soup_method::greedy;
  if (greedy && o.evaluate.empty() && !o.dry_run) throw CLI::RequiredError("--evaluate, for a greedy soup,");
  if (!greedy && !o.evaluate.empty()) throw CLI::ValidationError("--evaluate is for --method greedy");
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
