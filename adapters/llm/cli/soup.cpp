// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
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
  std::filesystem::path recipe;
  llm::soup_method method = llm::soup_method::linear;
  std::string base_model, dtype, tokenizer_source, chat_template, evaluate, shard_size = "50GB";
  std::size_t pad_to_multiple_of = 0;
  std::map<std::string, parameter_text> parameters;
  bool allow_unnormalized = false, dry_run = false, json = false;
  llm::soup_settings settings;
};

// A flag a name, with what each method means by it.
std::vector<std::pair<std::string, std::string>> parameter_flags() {
  std::vector<std::pair<std::string, std::string>> out;
  for (auto const& info : llm::soup_parameter_table()) {
    if (info.name == "weight" || info.name == "int8_mask") continue;
    auto const known = std::find_if(out.begin(), out.end(), [&](auto const& flag) { return flag.first == info.name; });
    if (known == out.end())
      out.emplace_back(info.name, info.help);
    else if (!info.help.empty())
      known->second += "; " + std::string{info.help};
  }
  return out;
}

void declare(llm::settings_list& list, soup_options& o) {
  list.add("models", o.models, "Hugging Face folders, GGUF files, adapters' folders or MODEL+ADAPTER, each with its weight after a colon if it is to have one").positional();
  list.add("recipe", o.recipe, "YAML file in mergekit's format instead of models and flags; --config FILE.yml means the same");
  list.add("method", o.method, "how the models become one");
  list.add("base_model", o.base_model, "what the other models were trained from; slerp takes the first model without it");
  list.add("output_dir", o.settings.output_dir, "folder of the result");
  list.add("dtype", o.dtype, "of the result: float32, bfloat16, float16 or float64; none: the models'");
  list.add("tokenizer_source", o.tokenizer_source, "for models of several vocabularies: base, union, or the model whose vocabulary the result gets");
  list.add("pad_to_multiple_of", o.pad_to_multiple_of, "rows of the embedding with --tokenizer_source; 0: one a token");
  list.add("chat_template", o.chat_template, "of the result: a template, or alpaca, chatml, exaone, llama3, mistral, or auto, which most models have; none: the models'");
  list.add("evaluate", o.evaluate, "for greedy: a command that gets a model as its last argument and prints one number, larger is better");
  list.add("max_shard_size", o.shard_size, "largest weights file, as 5GB or 500MB");
  list.add("threads", o.settings.threads, "0: all cores; changes no result").at_most(4096);
  list.add("seed", o.settings.seed, "of dare and della").at_most(1.8446744073709552e19);
  list.add("allow_unnormalized", o.allow_unnormalized, "linear with weights that don't sum to one, as they are");
  list.add("allow_tokenizer_mismatch", o.settings.allow_tokenizer_mismatch, "merge though the tokenizers differ; the result gets the base's or first one");
  list.add("allow_crimes", o.settings.allow_crimes, "merge models of different architectures whose tensors have the same names and shapes");
  list.add("overwrite_output_dir", o.settings.overwrite_output_dir, "replace what is there");
  list.add("dry_run", o.dry_run, "check everything and say what would be read and written; write nothing");
  list.add("json", o.json, "print the summary as one JSON object");
  list.add("quiet", o.settings.quiet, "no progress, no notes");
  list.group("Parameters of the methods");
  for (auto const& [name, help] : parameter_flags()) list.add(name, o.parameters[name], help);
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
  if (!o.recipe.empty()) {
    bool const more = !o.models.empty() || !given.empty() || !o.base_model.empty() || !o.dtype.empty() || !o.tokenizer_source.empty() ||
                      !o.chat_template.empty() || o.pad_to_multiple_of > 0;
    if (more)
      throw llm::usage_error("a recipe says all about the models; leave out models, --base_model, --dtype, --tokenizer_source, --chat_template and "
                             "parameters, or the recipe");
    return llm::read_recipe(o.recipe);
  }
  llm::soup_recipe out = llm::make_recipe(o.method, o.models, o.base_model, o.dtype, given, o.allow_unnormalized);
  if (!o.tokenizer_source.empty()) {
    auto const source = llm::from_name<llm::vocabulary_source>(o.tokenizer_source);
    if (source && *source != llm::vocabulary_source::models)
      out.vocabulary.source = *source;
    else
      out.vocabulary.model = llm::find_model(o.tokenizer_source);
  }
  out.vocabulary.pad_to_multiple_of = o.pad_to_multiple_of;
  if (o.pad_to_multiple_of > 0 && !out.vocabulary.rearranges()) throw llm::usage_error("--pad_to_multiple_of needs --tokenizer_source");
  if (!o.chat_template.empty()) out.chat_template = llm::chat_template_choice(o.chat_template);
  return out;
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
        summary["ingredients"].push_back({{"model", step.model.text()}, {"own_score", step.own_score}, {"score", step.score}, {"kept", step.kept}});
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
