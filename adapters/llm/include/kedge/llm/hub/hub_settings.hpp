// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>     // size_t
#include <filesystem>  // path
#include <functional>  // function
#include <string>      // string

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/screen.hpp>

namespace kedge::llm {

/// Where the hub is, where its files are kept, and who asks. The library reads no environment: a program fills this in.
struct hub_settings {
  std::string endpoint = "https://huggingface.co";
  std::filesystem::path cache;    ///< huggingface_hub's, with models--ORG--NAME in it
  std::string token;              ///< sent to the endpoint, and to nobody else; empty: none
  bool offline = false;           ///< ask nobody: what isn't in the cache is an error
  std::filesystem::path ca_file;  ///< certificates that are trusted; empty: the system's
  std::size_t parallel = 4;       ///< files fetched at once
  std::size_t tries = 5;          ///< in a row that bring nothing, until a file is given up
  double first_wait = 1;          ///< seconds before the second try; each further wait is twice as long
  double silence = 30;            ///< seconds without a byte after which a connection counts as broken
  screen tells{};                 ///< one line when something is fetched, and its progress
  std::function<bool()> stop{};   ///< asked often; true: hub_interrupted is thrown, and what was fetched so far is kept
};

/// A fetch was stopped by hub_settings::stop. The next one goes on where it ended.
class hub_interrupted : public error {
 public:
  hub_interrupted() : error("interrupted; what was fetched is kept, and the same command goes on from there") {}
};

}  // namespace kedge::llm
