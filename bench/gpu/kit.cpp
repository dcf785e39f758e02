// SPDX-License-Identifier: Apache-2.0

// kedge_gpu_kit: the parts of bench/gpu.sh that need no LibTorch. A row of results is a JSON object on a line of stdout.

#include "kit.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <numeric>

#include <CLI/CLI.hpp>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>

namespace {

using namespace kedge::gpu_kit;
namespace fs = std::filesystem;
namespace llm = kedge::llm;

llm::transformer_config config_of(fs::path const& file) { return llm::read_config(llm::read_json_file(file), file.string()); }

struct training_run {
  fs::path config, pairs, run, summary;
  std::string way = "adamw", lengths;
  int skip = 3;
  double per_step = 8, peak = 0, measured_peak = 0, fixed = 0, of_token = 0, tokens = 1e18, kept = 0, measured = 0;
};

// Of a step, or as much of it as is computed at once; probabilities in bf16.
double planned_bytes(training_run const& r, llm::transformer_config const& config, pair_work const& work) {
  double const share = std::min(1.0, r.tokens / (work.tokens * r.per_step)), rows = work.rows * r.per_step * share;
  return r.fixed + r.of_token * work.tokens * r.per_step * share + std::min(r.kept, 2.0 * rows * static_cast<double>(config.vocabulary));
}

// A row on a run of kedge dpo. Peaks are in operations a second; 0: not known.
json rate_of(training_run const& r) {
  llm::transformer_config const config = config_of(r.config);
  pair_work const work = work_of(r.pairs);
  std::vector<double> seconds = seconds_of_steps(r.run);
  if (seconds.size() <= static_cast<std::size_t>(r.skip))
    throw llm::error(r.run.string() + ": " + std::to_string(seconds.size() + 1) + " steps are too few to be timed");
  seconds.erase(seconds.begin(), seconds.begin() + r.skip);
  double const step = std::accumulate(seconds.begin(), seconds.end(), 0.0) / static_cast<double>(seconds.size());
  double const operations = operations_of(config, work, r.way == "lora") * r.per_step / step;
  json const said = llm::read_json_file(r.summary);
  json row{{"shape", r.config.stem().string()},
           {"lengths", r.lengths},
           {"way", r.way},
           {"tokens a pair", work.tokens},
           {"steps timed", seconds.size()},
           {"step s", step},
           {"fastest s", *std::min_element(seconds.begin(), seconds.end())},
           {"tokens/s", work.tokens * r.per_step / step},
           {"TFLOP/s", operations / 1e12}};
  if (double const peak = r.peak > 0 ? r.peak : r.measured_peak; peak > 0) row["mfu"] = operations / peak;
  if (r.measured_peak > 0) row["of measured rate"] = operations / r.measured_peak;
  row["reference s"] = said.at("reference_runtime");
  row["planned GB"] = planned_bytes(r, config, work) / 1e9;
  row["measured GB"] = (r.measured > 0 ? r.measured : said.at("peak_memory_bytes").get<double>()) / 1e9;
  row["first loss"] = json::parse([&] {
                        std::ifstream in(r.run / "metrics.jsonl");
                        std::string line;
                        std::getline(in, line);
                        return line;
                      }())
                          .at("loss");
  row["holds"] = std::abs(row["first loss"].get<double>() - std::log(2.0)) < 1e-12;
  return row;
}

void write_results(fs::path const& folder) {
  json const all = gathered(folder);
  llm::write_file_atomically(folder / "gpu.json", all.dump(1) + "\n");
  llm::write_file_atomically(folder / "gpu.html", page_of(all));
  std::fputs(summary_of(all).c_str(), stdout);
}

void add_rate(CLI::App& app, training_run& r) {
  CLI::App& line = *app.add_subcommand("rate", "a row on a run of kedge dpo");
  line.add_option("--config", r.config)->required();
  line.add_option("--pairs", r.pairs)->required();
  line.add_option("--run", r.run, "its output folder")->required();
  line.add_option("--summary", r.summary, "what it printed")->required();
  line.add_option("--way", r.way);
  line.add_option("--lengths", r.lengths);
  line.add_option("--skip", r.skip, "steps that aren't timed, after the first");
  line.add_option("--per_step", r.per_step, "pairs");
  line.add_option("--peak", r.peak, "operations a second of the device, as its maker says");
  line.add_option("--measured_peak", r.measured_peak, "of a large product");
  line.add_option("--fixed", r.fixed, "planned bytes but for activations");
  line.add_option("--of_token", r.of_token, "planned bytes of a token");
  line.add_option("--tokens", r.tokens, "most at once");
  line.add_option("--kept", r.kept, "most bytes of probabilities that are kept");
  line.add_option("--measured", r.measured, "most bytes of the device; 0: what the run says of itself");
  line.callback([&r] { std::printf("%s\n", rate_of(r).dump().c_str()); });
}

}  // namespace

int main(int count, char** words) try {
  CLI::App app("What bench/gpu.sh needs besides kedge.", "kedge_gpu_kit");
  app.require_subcommand(1);
  fs::path config, out;
  CLI::App& model = *app.add_subcommand("model", "writes a model of random weights");
  model.add_option("config", config)->required();
  model.add_option("folder", out)->required();
  model.callback([&] { write_model(config, out); });

  text_lengths lengths;
  CLI::App& pairs = *app.add_subcommand("pairs", "writes preference pairs of random words");
  pairs.add_option("config", config, "of the model")->required();
  pairs.add_option("file", out)->required();
  pairs.add_option("--pairs", lengths.pairs)->check(CLI::PositiveNumber);
  pairs.add_option("--prompt", lengths.prompt, "most tokens")->check(CLI::PositiveNumber);
  pairs.add_option("--completion", lengths.completion, "most tokens")->check(CLI::PositiveNumber);
  pairs.callback([&] { write_pairs(out, config_of(config).vocabulary, lengths); });

  training_run run;
  add_rate(app, run);

  CLI::App& page = *app.add_subcommand("page", "gpu.json and gpu.html of a folder of results");
  page.add_option("folder", out)->required();
  page.callback([&] { write_results(out); });
  CLI11_PARSE(app, count, words);
  return 0;
} catch (std::exception const& e) {
  std::fprintf(stderr, "kedge_gpu_kit: %s\n", e.what());
  return 1;
}
