// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace kedge::llm {

/// While one lives, Ctrl-C and SIGTERM ask for a stop after the current step; a second Ctrl-C ends the program at once.
class interrupt_guard {
 public:
  interrupt_guard();
  ~interrupt_guard();
  interrupt_guard(interrupt_guard const&) = delete;
  interrupt_guard& operator=(interrupt_guard const&) = delete;
  [[nodiscard]] bool requested() const;

 private:
  void (*before_int_)(int);
  void (*before_term_)(int);
};

}  // namespace kedge::llm
