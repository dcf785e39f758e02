// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>       // string
#include <string_view>  // string_view
#include <vector>       // vector

#include <kedge/llm/hub/hub.hpp>

namespace kedge::llm {

/// The files of a part of a data set, in the order of their names.
/// listing  all files of the repository
/// readme   text of its README.md, whose front matter may have `configs` with `data_files`; empty: there is none
/// Without configs the names say it, by the rules of the package datasets: data/SPLIT-00000-of-00005.EXT; else files and folders whose names hold a
/// split's word (train, validation, dev, test, eval …); else every file is of the split train. In a folder that the package made itself
/// (CONFIG/SPLIT/0000.parquet at the revision refs/convert/parquet) the first folder is the configuration.
/// throws   error naming the configurations or the splits that there are, or saying that there are no files that kedge reads
[[nodiscard]] std::vector<std::string> choose_dataset_files(std::vector<std::string> const& listing, std::string const& readme,
                                                            dataset_part const& part, std::string const& repository);

/// Whether each file of several ("train-00000-of-00003.parquet") has its others beside it.
[[nodiscard]] bool all_shards(std::vector<std::string> const& files);

/// Whether a path fits a pattern: `*` any characters but `/`, `**` those too, `?` one, `[abc]` one of these.
[[nodiscard]] bool fits(std::string_view pattern, std::string_view path);

}  // namespace kedge::llm
