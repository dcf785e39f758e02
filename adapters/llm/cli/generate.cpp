// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <optional>

#include <nlohmann/json.hpp>

#include <kedge/llm/files/atomic.hpp>
#include <kedge/llm/files/error.hpp>
#include <kedge/llm/train/sampling.hpp>

#include "command.hpp"

namespace kedge::cli {
namespace {

void add_options(CLI::App& app, llm::generate_settings& s) {
  auto const sampling = "Sampling (defaults: the model's generation_config.json, then what stands here)";
  app.add_option("--model_name_or_path", s.model, "Hugging Face folder or GGUF file")->required();
  app.add_option("--prompts,--dataset,--data", s.prompts, "JSONL; its key prompt is a text or a list of messages")->required();
  app.add_option("--num_samples", s.num_samples, "completions of each prompt")->capture_default_str();
  app.add_option("--max_samples", s.max_samples, "use the first so many prompts; 0: all")->capture_default_str();
  app.add_option("--max_new_tokens", s.max_new_tokens, "longest completion")->capture_default_str();
  app.add_option("--temperature", s.temperature, "0: the likeliest token, always; default 1")->group(sampling);
  app.add_option("--top_k", s.top_k, "draw from the k likeliest tokens; default 0: all")->group(sampling);
  app.add_option("--top_p", s.top_p, "draw from the fewest tokens that hold this probability; default 1: all")->group(sampling);
  app.add_option("--min_p", s.min_p, "drop tokens below this share of the likeliest one's probability; default 0: none")->group(sampling);
  app.add_option("--seed", s.seed, "fixes every sample, whatever the batch size")->capture_default_str()->group(sampling);
  app.add_flag("--ignore_eos", s.ignore_eos, "don't stop at the model's end tokens")->group(sampling);
  app.add_option("--batch_size", s.batch_size, "sequences decoded at once")->capture_default_str();
  app.add_flag("--logprobs", s.logprobs, "write logp, logp_tokens and token_ids of each completion too");
  app.add_flag("--skip_bad_lines", s.skip_bad_lines, "go on after prompts that can't be used, and count them");
  app.add_flag("--quiet", s.quiet, "no progress");
  add_compute_options(app, s.compute);
}

void write_to_standard_output(std::string_view line) {
  if (std::fwrite(line.data(), 1, line.size(), stdout) != line.size() || std::fflush(stdout) != 0)
    throw llm::error("the completions can't be written to standard output");
}

void print(llm::generate_report const& r) {
  std::printf("%s\n", nlohmann::ordered_json{{"prompts", r.prompts}, {"samples", r.samples}, {"tokens", r.tokens},
                                             {"generate_runtime", r.seconds},
                                             {"tokens_per_second", static_cast<double>(r.tokens) / r.seconds}}
                          .dump().c_str());
}

}  // namespace

int run_generate(arguments const& args) {
  llm::generate_settings settings;
  std::string output = "-";
  bool json = false;
  CLI::App app("Samples completions; one JSON object a line: prompt, completion, tokens, finished.", "kedge generate");
  add_options(app, settings);
  app.add_option("--output", output, "file, or - for standard output")->capture_default_str();
  app.add_flag("--json", json, "a summary as one JSON object on standard output; needs --output FILE");
  parse(app, args);
  if (output == "-") {
    if (json) throw CLI::ValidationError("--json", "needs --output FILE");
    return llm::generate_completions(settings, write_to_standard_output).interrupted ? exit_interrupted : exit_done;
  }
  llm::pending_file file(output);
  llm::generate_report const report = llm::generate_completions(settings, [&](std::string_view line) { file.write(line); });
  if (report.interrupted) return exit_interrupted;
  file.commit();
  if (json) print(report);
  return exit_done;
}

}  // namespace kedge::cli
