// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <kedge/llm/train/evaluation.hpp>

#include "command_line.hpp"

namespace kedge::cli {

/// A data set as TRL names it: a file, a folder with a file for each split, or ORG/NAME[@REVISION] of the hub.
struct dataset_choice {
  std::string name;
  std::string config;  ///< of a data set of the hub; empty: the only one, or the default
  std::string train_split = "train", test_split = "test";
};

/// Its flags; --dataset isn't required beside them.
void declare(llm::settings_list& list, dataset_choice& choice);

/// The file of a split: the one in the folder, or in its folder data/, whose name is the split's with an ending. Of parts
/// (train-00000-of-00002.parquet, …) the name, with *, that means all of them.
/// throws  usage_error: there is no such folder, the folder has no such file, or several that are no parts
[[nodiscard]] std::filesystem::path file_of_split(std::filesystem::path const& folder, std::string const& split);

/// Puts the files of --dataset_name where those of --dataset stand. The test split is read where evaluations while training are asked for and
/// no --eval_dataset is given, as TRL does.
/// throws  usage_error: there is no such data set; there is none at all; evaluations are asked for and nothing is held out
void choose_files(command_line const& line, dataset_choice const& choice, llm::evaluation_settings const& evaluations,
                  std::filesystem::path& dataset, std::filesystem::path& eval_dataset);
void choose_files(command_line const& line, dataset_choice const& choice, llm::evaluation_settings const& evaluations,
                  std::vector<std::filesystem::path>& dataset, std::filesystem::path& eval_dataset);

}  // namespace kedge::cli
