// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <string>

namespace kedge::llm {

/// Where the library tells people what it does. It opens none itself: a program passes its standard error, others nothing.
class screen {
 public:
  /// Nowhere.
  screen() = default;
  explicit screen(std::FILE* to);

  [[nodiscard]] bool there() const { return to_ != nullptr; }
  /// It is a terminal, on which a line can be drawn over.
  [[nodiscard]] bool draws() const { return draws_; }

  /// A line.
  void say(std::string const& sentence) const;
  /// Draws over the last line, if it is a terminal.
  void draw(std::string const& text) const;
  /// Wipes what was drawn.
  void wipe() const { draw(""); }

 private:
  std::FILE* to_ = nullptr;
  bool draws_ = false;
};

}  // namespace kedge::llm
