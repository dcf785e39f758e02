// SPDX-License-Identifier: Apache-2.0
#include "inspect_data.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/report.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/hub/model_setting.hpp>
#include <kedge/llm/text/chat_template.hpp>

#include "inspect_extras.hpp"

namespace kedge::cli {
namespace {

struct data_settings {
  std::filesystem::path data, model;
  std::size_t max_length = 0;
  llm::reading how;
  bool json = false;
};

llm::data_report report_on(data_settings const& s) {
  if (s.model.empty()) return llm::report_on_file(s.data, nullptr, s.how);
  llm::checkpoint const source = llm::checkpoint::open_text(s.model);
  std::optional<llm::chat_template> const chat = llm::open_chat_template(source);
  llm::report_tokens const tokens{llm::open_tokenizer(source), chat ? &*chat : nullptr,
                                  llm::special_tokens(source.tokenizer_config), s.max_length};
  return llm::report_on_file(s.data, &tokens, s.how);
}

void print(llm::length_summary const& lengths, std::string const& name, char const* unit) {
  std::printf("%-24s least %zu, median %zu, 95 %% up to %zu, most %zu, mean %.1f\n", (name + ", " + unit).c_str(), lengths.least, lengths.median,
              lengths.percentile_95, lengths.most, lengths.mean);
  std::size_t const tallest = lengths.histogram.empty() ? 0 : *std::max_element(lengths.histogram.begin(), lengths.histogram.end());
  for (std::size_t k = 0; k < lengths.histogram.size(); ++k) {
    if (lengths.histogram[k] == 0) continue;
    constexpr std::size_t width = 40;
    std::string const bar((lengths.histogram[k] * width + tallest - 1) / tallest, '#');
    std::printf("  below %-12zu %10zu %s\n", std::size_t{1} << k, lengths.histogram[k], bar.c_str());
  }
}

void print(char const* what, std::vector<std::size_t> const& lines) {
  if (lines.empty()) return;
  constexpr std::size_t named = 10;
  std::string text = std::to_string(lines.size()) + ", lines";
  for (std::size_t i = 0; i < std::min(named, lines.size()); ++i) text += (i > 0 ? ", " : " ") + std::to_string(lines[i]);
  std::printf("%-24s %s%s\n", what, text.c_str(), lines.size() > named ? ", …" : "");
}

void print(llm::data_report const& report) {
  std::printf("%-24s %zu\n", std::string(name_of(report.kind)).c_str(), report.examples);
  for (auto const& [name, count] : {std::pair{"different prompts", report.prompts}, {"conversations", report.conversations},
                                    {"with a system message", report.with_system}, {"of several turns", report.several_turns},
                                    {"with scores", report.with_scores}})
    std::printf("%-24s %zu\n", name, count);
  if (report.kind == llm::data_kind::pairs) std::printf("%-24s %zu\n", "chosen is longer", report.chosen_longer);
  for (llm::part_report const& part : report.parts) print(part.characters, part.name, "characters");
  if (report.has_tokens) {
    for (llm::part_report const& part : report.parts) print(part.tokens, part.name, "tokens");
    std::printf("%-24s %zu\n", "cut at max_length", report.truncated);
    if (report.dropped > 0) std::printf("%-24s %zu prompts end in tokens that change before a completion\n", "dropped", report.dropped);
  }
  print("repeated", report.repeated);
  print("chosen = rejected", report.identical);
  print("empty", report.empty);
  print("scores reversed", report.reversed);
  for (std::string const& note : report.notes) std::printf("%-24s %s\n", "note", note.c_str());
  if (report.bad > 0) std::printf("%-24s %zu\n", "unusable lines", report.bad);
  for (std::string const& reason : report.bad_reasons) std::printf("  %s\n", reason.c_str());
}

}  // namespace

bool is_data(std::string const& argument) {
  std::filesystem::path const path = argument;
  if (argument == "-" || argument.find('*') != std::string::npos || argument == "--dataset" || argument == "--data" || argument.find(".jsonl") != std::string::npos) return true;
  std::error_code ignored;
  auto const status = std::filesystem::status(path, ignored);
  if (std::filesystem::is_fifo(status) || std::filesystem::is_character_file(status)) return true;
  if (!std::filesystem::is_regular_file(status) || path.extension() == ".toml" || path.extension() == ".json") return false;
  std::array<char, 4> start{};
  std::ifstream(path, std::ios::binary).read(start.data(), start.size());
  return std::string_view(start.data(), start.size()) != "GGUF";
}

int inspect_data(arguments const& args) {
  data_settings s;
  command_line line("kedge inspect", "What a data set is: examples, lengths, repetitions, and lines that deserve a second look.");
  line.settings.add("dataset", s.data, "JSONL of pairs, demonstrations or prompts, plain or packed by gzip or zstd; - for standard input")
      .alias("data").positional().required();
  line.settings.add(llm::model_setting("model_name_or_path", s.model, "Hugging Face folder or GGUF file: lengths in tokens too")).alias("model");
  line.settings.add("max_length", s.max_length, "count the examples that a run would cut; 0 or -1: no limit").also("-1", "0").needs("model_name_or_path");
  line.settings.add("dataset_format", s.how.format, "how the lines are written; auto: by the keys of the first");
  line.settings.add("ranked_pairs", s.how.pairs, "which ranked or rated completions of a prompt make pairs");
  line.settings.add("json", s.json, "print one JSON object");
  pair_scoring const scoring = declare_scoring(line.settings);
  line.parse(args);
  if (scoring.pairs() > 0 && s.data == "-") throw llm::usage_error("--score reads the data a second time; pass a file");
  llm::data_report const report = report_on(s);
  if (scoring.pairs() > 0 && report.kind != llm::data_kind::pairs) throw llm::error("--score: the data are no pairs");
  nlohmann::ordered_json const scores = scoring.pairs() > 0 ? scoring.score(s.data, s.how, s.model, s.max_length) : nlohmann::ordered_json();
  if (s.json) {
    nlohmann::ordered_json out = llm::to_json(report);
    if (!scores.is_null()) out["scores"] = scores;
    std::printf("%s\n", out.dump().c_str());
    return report.bad == 0 ? exit_done : exit_error;
  }
  print(report);
  for (auto const& [key, value] : scores.items()) std::printf("%-24s %s\n", key.c_str(), value.dump().c_str());
  if (!scores.is_null() && scores["contamination_alarm"].get<bool>())
    std::printf("%-24s the model prefers what is chosen: it may have been trained on these pairs\n", "alarm");
  return report.bad == 0 ? exit_done : exit_error;
}

}  // namespace kedge::cli
