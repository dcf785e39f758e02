// SPDX-License-Identifier: Apache-2.0
#include "shared_library.hpp"

#include <dlfcn.h>

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {

shared_library::shared_library(std::span<char const* const> names, std::string const& what, std::string const& package)
    : what_(what) {
  for (char const* const name : names)
    if (handle_ == nullptr) handle_ = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (handle_ == nullptr)
    throw error("nothing can be fetched: the library " + what + " is missing; install it (Debian: " + package +
                "), or fetch the files by another program (hf download NAME) into the same cache");
}

void* shared_library::address(char const* name) const {
  void* const found = ::dlsym(handle_, name);
  if (found == nullptr)
    throw error("nothing can be fetched: the library " + what_ + " has no " + name + "; install a newer one");
  return found;
}

}  // namespace kedge::llm
