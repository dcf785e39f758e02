// SPDX-License-Identifier: Apache-2.0
#include "trl_dataset.hpp"

#include <algorithm>
#include <regex>

#include <kedge/llm/base/setting.hpp>

#include "hub_environment.hpp"

namespace kedge::cli {
namespace {

namespace fs = std::filesystem;
using llm::usage_error;

// train.jsonl, train-00000-of-00001.parquet; not training.jsonl
bool is_of_split(std::string const& file, std::string const& split) {
  return file.starts_with(split) && file.size() > split.size() && (file[split.size()] == '.' || file[split.size()] == '-');
}

std::vector<fs::path> files_of_split(fs::path const& folder, std::string const& split) {
  std::vector<fs::path> files;
  std::error_code absent;
  for (fs::path const& place : {folder, folder / "data"})
    for (auto const& entry : fs::directory_iterator(place, absent))
      if (entry.is_regular_file() && is_of_split(entry.path().filename().string(), split)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

// One name, with *, for the parts of a split: train-00000-of-00002.parquet and so on. Empty where the files are no such parts.
fs::path name_of_shards(std::vector<fs::path> const& files) {
  static std::regex const numbered(R"((.*-)\d+(-of-)\d+(\..*))");
  fs::path pattern;
  for (fs::path const& file : files) {
    std::smatch part;
    std::string const name = file.filename().string();
    if (!std::regex_match(name, part, numbered)) return {};
    fs::path const own = file.parent_path() / (part[1].str() + "*" + part[2].str() + "*" + part[3].str());
    if (!pattern.empty() && own != pattern) return {};
    pattern = own;
  }
  return pattern;
}

// The one file of a split, or the one name of its parts. `place` is for messages.
fs::path one_of(std::vector<fs::path> const& files, std::string const& place, std::string const& split) {
  if (files.size() == 1) return files.front();
  if (fs::path const shards = name_of_shards(files); !shards.empty()) return shards;
  throw usage_error(place + ": " + std::to_string(files.size()) + " files of the split " + split + ", " + files[0].filename().string() +
                    " and " + files[1].filename().string() + " among them; give one of them, --dataset " + files.front().string());
}

fs::path file_of_hub(dataset_choice const& choice, std::string const& split) {
  auto const name = llm::parse_hub_name(choice.name, llm::hub_kind::dataset);
  if (!name || name->repository.find('/') == std::string::npos || !name->path.empty())
    throw usage_error("--dataset_name " + choice.name + ": no such file or folder, and no name of the hub, which is ORG/NAME");
  return one_of(hub_dataset(*name, {choice.config, split}), "--dataset_name " + choice.name, split);
}

fs::path file_of(dataset_choice const& choice, std::string const& split, bool other_split) {
  if (!fs::exists(choice.name)) return file_of_hub(choice, split);
  if (!choice.config.empty() && choice.config != "default")
    throw usage_error("--dataset_config " + choice.config + ": " + choice.name +
                      " lies here and has no configurations; give the file of the one that you want, --dataset FILE");
  if (fs::is_directory(choice.name)) return file_of_split(choice.name, split);
  if (other_split)
    throw usage_error("--dataset_name " + choice.name + " is a file, which has no split " + split +
                      "; give a file of that, or the folder of both");
  return choice.name;
}

}  // namespace

void declare(llm::settings_list& list, dataset_choice& choice) {
  list.at("dataset").optional().excludes("dataset_name");
  list.group("");
  list.add("dataset_name", choice.name,
           "TRL's word for --dataset: a file, a folder with a file for each split, or ORG/NAME[@REVISION] of the hub")
      .resumes(llm::on_resume::content);
  list.add("dataset_config", choice.config, "configuration of a data set of the hub; none: the only one, or the default")
      .also("none", "")
      .needs("dataset_name")
      .resumes(llm::on_resume::content);
  list.add("dataset_train_split", choice.train_split, "split of it to train on: train.jsonl, train-00000-of-00001.parquet, …")
      .needs("dataset_name")
      .resumes(llm::on_resume::content);
  list.add("dataset_test_split", choice.test_split, "split of it to measure while training, without --eval_dataset")
      .needs("dataset_name")
      .resumes(llm::on_resume::content);
}

fs::path file_of_split(fs::path const& folder, std::string const& split) {
  std::vector<fs::path> const files = files_of_split(folder, split);
  if (files.empty())
    throw usage_error(folder.string() + ": no file of the split " + split + " in it (" + split +
                      ".jsonl, say); give the file, --dataset FILE");
  return one_of(files, folder.string(), split);
}

void choose_files(command_line const& line, dataset_choice const& choice, llm::evaluation_settings const& evaluations,
                  fs::path& dataset, fs::path& eval_dataset) {
  if (choice.name.empty() && dataset.empty()) throw usage_error("--dataset is required: " + line.settings.at("dataset").help());
  bool const measured = evaluations.eval_strategy != llm::interval::no;
  if (!choice.name.empty()) dataset = file_of(choice, choice.train_split, choice.train_split != "train");
  if (!choice.name.empty() && measured && eval_dataset.empty() && !fs::is_regular_file(choice.name))
    eval_dataset = file_of(choice, choice.test_split, true);
  if (measured && eval_dataset.empty())
    throw usage_error("--eval_strategy " + std::string(name_of(evaluations.eval_strategy)) +
                      " needs held-out data; give them, --eval_dataset FILE");
}

void choose_files(command_line const& line, dataset_choice const& choice, llm::evaluation_settings const& evaluations,
                  std::vector<fs::path>& dataset, fs::path& eval_dataset) {
  fs::path first = dataset.empty() ? fs::path() : dataset.front();
  choose_files(line, choice, evaluations, first, eval_dataset);
  if (!choice.name.empty()) dataset = {first};
}

}  // namespace kedge::cli
