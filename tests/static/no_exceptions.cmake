# SPDX-License-Identifier: Apache-2.0
# cmake -DSOURCE=... -DCOMPILER=... -DINCLUDE=... -DFOLDER=... -P no_exceptions.cmake
# With -fno-exceptions, and with -ffast-math beside it, SOURCE compiles without a warning and runs; refused input prints why and ends it.
file(MAKE_DIRECTORY "${FOLDER}")
foreach(flags IN ITEMS "-fno-exceptions" "-fno-exceptions;-ffast-math;-O2")
  execute_process(COMMAND "${COMPILER}" -std=c++20 -Wall -Wextra -Werror ${flags} "-I${INCLUDE}" "${SOURCE}" -o "${FOLDER}/no_exceptions" COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND "${FOLDER}/no_exceptions" COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND "${FOLDER}/no_exceptions" refused RESULT_VARIABLE result OUTPUT_QUIET ERROR_VARIABLE errors)
  if(result EQUAL 0 OR NOT errors MATCHES "kedge: axpby: 1 against 2 elements; both operands must have the same shape")
    message(FATAL_ERROR "refused input: exit '${result}', '${errors}'")
  endif()
endforeach()
