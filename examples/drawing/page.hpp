// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/lab/drawing/page.hpp>

namespace kedge_drawing = kedge::lab::drawing;
