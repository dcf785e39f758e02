// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/base/screen.hpp>

#include <unistd.h>

namespace kedge::llm {

screen::screen(std::FILE* to) : to_(to), draws_(to != nullptr && isatty(fileno(to)) != 0) {}

void screen::say(std::string const& sentence) const {
  if (to_ != nullptr) std::fprintf(to_, "%s\n", sentence.c_str());
}

void screen::draw(std::string const& text) const {
  if (!draws_) return;
  std::fprintf(to_, "\r\033[K%s", text.c_str());
  std::fflush(to_);
}

}  // namespace kedge::llm
