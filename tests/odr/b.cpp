// SPDX-License-Identifier: Apache-2.0
// The other translation unit decides the opposite about assertions: nothing of ours may change its layout with them.
#ifdef NDEBUG
#undef NDEBUG
#else
#define NDEBUG
#endif
#include "all.hpp"

view view_of_b() {
  using pack = std::vector<std::vector<double>>;
  return {&kedge::deep_copy, &kedge::axpby, &kedge::dot, sizeof(kedge::state<pack, std::vector<double>>)};
}

int main() {
  view const a = view_of_a(), b = view_of_b();
  return a.deep_copy == b.deep_copy && a.axpby == b.axpby && a.dot == b.dot && a.state == b.state ? 0 : 1;
}
