// SPDX-License-Identifier: Apache-2.0
// build error: a part of a state is a number, a tensor
// What a schedule keeps has to be copied and saved.
#include <vector>

#include <kedge/kedge.hpp>

using point = std::vector<double>;

struct keeps_a_pointer {
  static constexpr bool keeps_anchor = false;
  template <class P>
  struct memory {
    P* last = nullptr;
    static constexpr auto parts = std::tuple{kedge::part{"last", &memory::last}};
  };
  void place(auto&, auto&) const {}
};

auto f(kedge::state<point, point, keeps_a_pointer> const& s) { return s.copy(); }
