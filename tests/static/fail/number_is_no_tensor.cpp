// SPDX-License-Identifier: Apache-2.0
// build error: deep_copy\(x\)
#include <kedge/kedge.hpp>

void f(int& x) { kedge::extrapolate_over(1, 0.3, x); }
