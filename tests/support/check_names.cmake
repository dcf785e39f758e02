# SPDX-License-Identifier: Apache-2.0
# cmake -DPROGRAM=... -DCATCH2=version -P check_names.cmake: the discovery of tests passes over a program that cannot start, and runs test
# names together at an open bracket. Here both are errors.
set(list --list-test-names-only)
if(CATCH2 VERSION_GREATER_EQUAL 3)
  set(list --list-tests --verbosity quiet)
endif()
execute_process(COMMAND "${PROGRAM}" ${list} RESULT_VARIABLE result OUTPUT_VARIABLE names ERROR_VARIABLE problem)
string(REGEX MATCHALL "[^\n]*[][;\\\\\"][^\n]*" wrong "${names}")
if(names STREQUAL "")
  message(FATAL_ERROR "${PROGRAM} lists no tests (${result}): ${problem}")
elseif(wrong)
  message(FATAL_ERROR "rename these tests, without [ ] ; \\ and \": ${wrong}")
endif()
