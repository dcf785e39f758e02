// SPDX-License-Identifier: Apache-2.0
#include <mutex>
#include <utility>

#include <kedge/llm/base/model_names.hpp>

namespace kedge::llm {
namespace {

std::mutex guard;
model_finder in_use;  // says where a file lies, and nothing of what is computed

}  // namespace

model_finder_scope::model_finder_scope(model_finder finder) {
  std::lock_guard const lock(guard);
  before_ = std::exchange(in_use, std::move(finder));
}

model_finder_scope::~model_finder_scope() {
  std::lock_guard const lock(guard);
  in_use = std::move(before_);
}

std::filesystem::path local_model(std::filesystem::path const& path_or_name) {
  std::error_code ignored;
  if (path_or_name.empty() || std::filesystem::exists(path_or_name, ignored)) return path_or_name;
  std::lock_guard const lock(guard);
  if (!in_use) return path_or_name;
  std::filesystem::path found = in_use(path_or_name.string());
  return found.empty() ? path_or_name : found;
}

}  // namespace kedge::llm
