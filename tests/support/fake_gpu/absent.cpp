// SPDX-License-Identifier: Apache-2.0

// A library that is there when others are linked with it, and missing when they run.
extern "C" int kedge_absent() { return 1; }
