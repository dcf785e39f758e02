// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <memory>
#include <sstream>

#include <kedge/llm/train/device_report.hpp>
#include <kedge/llm/train/run_settings.hpp>
#include <kedge/llm/train/scoring.hpp>

#include "inspect_extras.hpp"

namespace kedge::cli {
namespace {

/// How the model ranks the pairs before any training, in nats: gap = log π(chosen) − log π(rejected).
nlohmann::ordered_json score(llm::score_settings const& settings) {
  std::stringstream lines;
  llm::score_preferences(settings, lines);
  std::size_t pairs = 0;
  double sum = 0, squares = 0, right = 0;
  for (std::string line; std::getline(lines, line); ++pairs) {
    auto const pair = nlohmann::json::parse(line);
    double const gap = pair["logp_chosen"].get<double>() - pair["logp_rejected"].get<double>();
    sum += gap;
    squares += gap * gap;
    right += gap > 0 ? 1 : 0;
  }
  auto const n = static_cast<double>(pairs);
  double const mean = sum / n, error = n > 1 ? std::sqrt(std::max(0.0, (squares - n * mean * mean) / (n - 1) / n)) : 0;
  bool const alarm = n > 1 && mean > 3 * error && right >= 0.75 * n;
  return {{"pairs", pairs}, {"mean_gap", mean}, {"standard_error", error}, {"chosen_preferred", right / n}, {"contamination_alarm", alarm}};
}

}  // namespace

std::function<llm::state_bytes()> declare_optimizer(llm::settings_list& settings) {
  auto const optim = std::make_shared<llm::optimizer_choice>();
  settings.add("optim", *optim, "as the training subcommands have it: how the plan of memory counts moments");
  return [optim] { return optim->bytes(); };
}

std::function<void(nlohmann::ordered_json&)> declare_device(llm::settings_list& settings) {
  auto const device = std::make_shared<std::string>("cpu");
  settings.add("device", *device, "cuda, or cuda:N: tell too what GPUs there are and whether what they need loads");
  return [device](nlohmann::ordered_json& about) {
    llm::device_report const report = llm::report_on_device(*device);
    if (!report.facts.empty()) about["device"] = report.facts;
    for (std::string const& problem : report.problems) about["problems"].push_back("--device " + *device + ": " + problem);
  };
}

pair_scoring declare_scoring(llm::settings_list& settings) {
  auto const asked = std::make_shared<llm::score_settings>();
  settings.add("score", asked->max_samples, "let the model score the first so many pairs: has it seen them? 0: no").needs("model_name_or_path");
  declare(settings, asked->compute);
  return {[asked] { return asked->max_samples; },
          [asked](std::filesystem::path const& data, llm::reading const& how, std::filesystem::path const& model, std::size_t max_length) {
            llm::score_settings all = *asked;
            all.dataset = data;
            all.dataset_format = how.format;
            all.ranked_pairs = how.pairs;
            all.model = model;
            all.max_length = max_length;
            all.skip_bad_lines = true;
            return score(all);
          }};
}

}  // namespace kedge::cli
