# SPDX-License-Identifier: Apache-2.0
# cmake -DLOG=FILE -P check_warnings.cmake: every warning of doxygen is an error, but for one: a member whose name says all (beta of dpo)
# needs no sentence of its own. Types, functions and concepts do, and links must lead somewhere.
file(STRINGS "${LOG}" warnings)
list(FILTER warnings EXCLUDE REGEX "Member .* of (struct|class) .* is not documented")
list(JOIN warnings "\n" warnings)
if(warnings)
  message(FATAL_ERROR "the documentation has faults:\n${warnings}")
endif()
