// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>    // same_as
#include <filesystem>  // path
#include <memory>      // unique_ptr
#include <string>      // string
#include <utility>     // move
#include <vector>      // vector

#include <kedge/llm/base/model_names.hpp>
#include <kedge/llm/base/setting.hpp>

namespace kedge::llm {

/// A setting that names models: each name that is no path is replaced by the place where the model is (local_model).
class names_models {
 public:
  virtual ~names_models() = default;
  /// throws  kedge::llm::error if a model can't be found, or not be fetched
  virtual void locate() = 0;
};

/// A setting's value with a member `models`, or `model`, that names them.
template <class T>
concept has_models = requires(T& value) {
  { value.models } -> std::same_as<std::vector<std::filesystem::path>&>;
};
template <class T>
concept has_model = requires(T& value) {
  { value.model } -> std::same_as<std::filesystem::path&>;
};

/// Bound to a path, to several, or to a value that has some.
template <class T>
class model_setting_of : public setting_of<T>, public names_models {
 public:
  model_setting_of(std::string name, T& member, std::string help)
      : setting_of<T>(std::move(name), member, std::move(help)), value_(member) {}
  void locate() override {
    if constexpr (has_models<T>)
      put(value_.models);
    else if constexpr (has_model<T>)
      put(value_.model);
    else
      put(value_);
  }
  [[nodiscard]] std::string form() const override {
    if constexpr (std::same_as<T, std::filesystem::path>)
      return "a path, or ORG/NAME[@REVISION] of the hub";
    else
      return setting_of<T>::form();
  }

 private:
  static void put(std::filesystem::path& model) { model = local_model(model); }
  static void put(std::vector<std::filesystem::path>& models) {
    for (auto& model : models) put(model);
  }

  T& value_;
};

/// For settings_list::add.
template <class T>
[[nodiscard]] std::unique_ptr<setting> model_setting(std::string name, T& member, std::string help) {
  return std::make_unique<model_setting_of<T>>(std::move(name), member, std::move(help));
}

}  // namespace kedge::llm
