// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>    // span
#include <string>  // string

namespace kedge::llm {

/// A library that is loaded when it is first needed and stays, so that a program starts, and does all else, where it is missing.
class shared_library {
 public:
  /// Loads the first of these names that is there.
  /// throws  kedge::llm::error "WHAT is missing …" with what to install
  shared_library(std::span<char const* const> names, std::string const& what, std::string const& package);

  /// A function of the library.
  /// throws  kedge::llm::error if it has none of that name
  template <class F>
  void take(F*& function, char const* name) const {
    function = reinterpret_cast<F*>(address(name));
  }

 private:
  [[nodiscard]] void* address(char const* name) const;

  void* handle_ = nullptr;
  std::string what_;
};

}  // namespace kedge::llm
