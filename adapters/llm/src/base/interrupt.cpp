// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/base/interrupt.hpp>

#include <csignal>

namespace kedge::llm {
namespace {

volatile std::sig_atomic_t stop_requested = 0;

extern "C" void request_stop(int number) {
  stop_requested = 1;
  std::signal(number, SIG_DFL);
}

}  // namespace

interrupt_guard::interrupt_guard() {
  stop_requested = 0;
  before_int_ = std::signal(SIGINT, request_stop);
  before_term_ = std::signal(SIGTERM, request_stop);
}

interrupt_guard::~interrupt_guard() {
  std::signal(SIGINT, before_int_);
  std::signal(SIGTERM, before_term_);
}

bool interrupt_guard::requested() const { return stop_requested != 0; }

}  // namespace kedge::llm
