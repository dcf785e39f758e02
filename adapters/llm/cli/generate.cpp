// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <optional>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/hub/model_setting.hpp>
#include <kedge/llm/train/run_settings.hpp>
#include <kedge/llm/train/sampling.hpp>

#include "command.hpp"
#include "sampling_flags.hpp"

namespace kedge::cli {
namespace {

void declare(llm::settings_list& list, llm::generate_settings& s) {
  list.add(llm::model_setting("model_name_or_path", s.model, "Hugging Face folder or GGUF file")).required();
  declare_completions(list, s);
  list.add("ignore_eos", s.ignore_eos, "don't stop at the model's end tokens");
  list.group("Output");
  list.add("batch_size", s.batch_size, "sequences decoded at once").at_least(1).at_most(1 << 20);
  list.add("logprobs", s.logprobs, "write logp, logp_tokens and token_ids of each completion too");
  list.add("skip_bad_lines", s.skip_bad_lines, "go on after prompts that can't be used, and count them");
  list.add("quiet", s.quiet, "no progress");
  llm::declare_company(list, s.ddp_timeout);
  declare(list, s.compute);
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

void declare_completions(llm::settings_list& list, llm::generate_settings& s) {
  list.add("prompts", s.prompts, "JSONL; its key prompt is a text or a list of messages").alias("dataset").alias("data").required();
  list.add("dataset_format", s.dataset_format, "how the lines are written; auto: by the keys of the first, where they leave no choice");
  list.add("num_samples", s.num_samples, "completions of each prompt").at_least(1).at_most(1 << 20);
  list.add("max_samples", s.max_samples, "use the first so many prompts; 0 or -1: all").also("-1", "0");
  list.add("max_new_tokens", s.max_new_tokens, "longest completion; none: the model's, else 256").at_least(1).at_most(1 << 24);
  declare_sampling(list, s);
}

void declare_sampling(llm::settings_list& list, llm::generate_settings& s) {
  list.group("Sampling (none: the model's generation_config.json, then what the line says)");
  list.add("temperature", s.temperature, "0: the likeliest token, always; else 1").at_most(1e6);
  list.add("top_k", s.top_k, "draw from the k likeliest tokens; 0, -1, and else: all").also("-1", "0");
  list.add("top_p", s.top_p, "draw from the fewest tokens that hold this probability; else 1: all").above(0).at_most(1);
  list.add("min_p", s.min_p, "drop tokens below this share of the likeliest one's probability; else 0: none").at_most(1);
  list.add("seed", s.seed, "fixes every sample, whatever the batch size").at_most(1.8446744073709552e19);
}

int run_generate(arguments const& args) {
  llm::generate_settings settings;
  std::string output = "-";
  bool json = false;
  command_line line("kedge generate", "Samples completions; one JSON object a line: prompt, completion, tokens, finished.");
  declare(line.settings, settings);
  line.settings.add("output", output, "file, or - for standard output").in("Output");
  line.settings.add("json", json, "a summary as one JSON object on standard output; needs --output FILE").in("Output");
  line.parse(args);
  settings.where = llm::launch::of_environment();
  bool const leads = settings.where.rank == 0;
  if (leads) settings.tells = llm::screen(stderr);
  if (json && output == "-") throw llm::usage_error("--json needs --output FILE");
  if (output == "-" || !leads) return llm::generate_completions(settings, write_to_standard_output).interrupted ? exit_interrupted : exit_done;
  llm::pending_file file(output);
  llm::generate_report const report = llm::generate_completions(settings, [&](std::string_view line) { file.write(line); });
  if (report.interrupted) return exit_interrupted;
  file.commit();
  if (json) print(report);
  return exit_done;
}

}  // namespace kedge::cli
