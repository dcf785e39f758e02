// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>  // path
#include <functional>  // function
#include <string>      // string

namespace kedge::llm {

/// Finds what a name stands for that is no path here: the folder or file of the model. Returns an empty path where it isn't meant as such a name.
/// throws  kedge::llm::error if it is meant so and can't be found
/// May be called from several threads, one at a time.
using model_finder = std::function<std::filesystem::path(std::string const& name)>;

/// While one lives, models that other models name (an adapter its base, a recipe its sources) are looked for by this finder too, and not on
/// the disk alone. A program makes one as it starts; the library makes none.
class model_finder_scope {
 public:
  explicit model_finder_scope(model_finder finder);
  ~model_finder_scope();
  model_finder_scope(model_finder_scope const&) = delete;
  model_finder_scope& operator=(model_finder_scope const&) = delete;

 private:
  model_finder before_;
};

/// A path that is there, as it is; else what the finder in use finds; else the path again.
/// throws  kedge::llm::error from the finder
[[nodiscard]] std::filesystem::path local_model(std::filesystem::path const& path_or_name);

}  // namespace kedge::llm
