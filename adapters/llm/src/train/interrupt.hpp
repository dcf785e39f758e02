// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/llm/files/interrupt.hpp>  // interrupt_guard
