// SPDX-License-Identifier: Apache-2.0

// The main job on real input: SmolLM2-135M-Instruct learns to write more positive texts, by DPO in one round and by APO in
// two, at the same number of gradient steps, and both are held against pairs that neither has seen.

#include <cstdio>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <kedge/llm/train/null_baseline.hpp>
#include <kedge/llm/train/preference.hpp>

using namespace kedge::llm;

namespace {

training_settings settings_for(std::filesystem::path const& model, std::filesystem::path const& data,
                               std::filesystem::path const& output) {
  training_settings s;
  s.model = model;
  s.dataset = {data / "sentiment-train.jsonl"};
  s.eval_dataset = data / "sentiment-test.jsonl";
  s.min_score_gap = 0.6;
  s.eval_min_score_gap = 0.4;
  s.max_train_samples = 160;
  s.max_eval_samples = 64;
  s.output_dir = output;
  s.overwrite_output_dir = true;
  s.tells = kedge::llm::screen(stderr);
  s.save_steps = 0;
  s.learning_rate = 2e-5;
  s.warmup_ratio = 0.1;
  s.num_train_epochs = 1;
  s.per_device_train_batch_size = 4;
  return s;
}

void print_row(char const* name, double effective_beta, evaluation const& e) {
  std::printf("%-22s", name);
  if (effective_beta > 0)
    std::printf("%10.4f", effective_beta);
  else
    std::printf("%10s", "");
  std::printf("%12.4f", e.loss);
  if (e.round > 0)
    std::printf("%10.2f", e.accuracy);
  else
    std::printf("%10s", "-");  // every margin is exactly 0
  std::printf("%10.3f%10.2f\n", e.margin, e.fall);
}

struct row {
  std::string name;
  training_result result;
};

int demo(std::vector<std::string> const& args) {
  null_choice null = null_choice::none;
  std::vector<std::string> paths;
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (args[i] != "--null") {
      paths.push_back(args[i]);
      continue;
    }
    auto const named = i + 1 < args.size() ? from_name<null_choice>(args[i + 1]) : std::nullopt;
    null = named.value_or(null_choice::both);
    if (named) ++i;
  }
  if (paths.size() != 3) {
    std::fprintf(stderr, "usage: kedge-demo MODEL DATA_FOLDER OUTPUT_FOLDER [--null [beta|rate|both]]\n");
    return 2;
  }
  auto train = [&](char const* name, double beta, round_settings rounds) {
    std::fprintf(stderr, "\n%s\n", name);
    training_settings s = settings_for(paths[0], paths[1], std::filesystem::path(paths[2]) / name);
    s.loss.beta = beta;
    make_null_baseline(s, rounds);
    return row{name, train_preferences(s, rounds)};
  };
  constexpr double beta = 0.1;
  round_settings const apo{.method = round_method::apo, .chunks = 2, .momentum = momentum_choice::constant, .alpha = {0.5}};
  std::vector<row> rows;
  rows.push_back(train("dpo", beta, {}));
  if (!rows.back().result.interrupted) rows.push_back(train("apo", beta, apo));
  round_settings as_null = apo;
  as_null.null = null;
  if (null != null_choice::none && !rows.back().result.interrupted) rows.push_back(train("null", beta, as_null));
  if (rows.back().result.interrupted) return 130;

  auto const& start = rows.front().result.evaluations.front();
  std::printf(
      "\n%zu held-out pairs; rewards are beta times the log-ratio to the start; fall: by so many nats completions are less "
      "likely\n\n",
      start.pairs);
  std::printf("%-22s%10s%12s%10s%10s%10s\n", "", "beta_eq", "loss", "accuracy", "margin", "fall");
  print_row("start", 0, start);
  for (row const& r : rows)
    for (std::size_t i = 1; i < r.result.evaluations.size(); ++i) {
      bool const last = i + 1 == r.result.evaluations.size();
      print_row((r.name + (r.result.evaluations.size() > 2 ? " round " + std::to_string(i) : "")).c_str(),
                last ? r.result.effective_beta : 0, r.result.evaluations[i]);
    }
  std::printf("\nthe models lie in %s; %.2f pairs/s with reference passes\n", paths[2].c_str(),
              static_cast<double>(rows.front().result.examples) / rows.front().result.train_seconds);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return demo({argv + 1, argv + argc});
  } catch (std::exception const& e) {
    std::fprintf(stderr, "kedge-demo: %s\n", e.what());
    return 1;
  }
}
