// SPDX-License-Identifier: Apache-2.0
// build error: deep_copy\(x\)
#include <string>

#include <kedge/kedge.hpp>

kedge::running_mean<std::string> mean;
