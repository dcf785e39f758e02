// SPDX-License-Identifier: Apache-2.0
// The language-model library, linked whole: whatever its archives need must come with kedge::llm.
#include <kedge/llm/formats/dtype.hpp>

int main() { return kedge::llm::size_of(kedge::llm::dtype_from_name("BF16")) == 2 ? 0 : 1; }
