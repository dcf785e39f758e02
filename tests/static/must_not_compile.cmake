# SPDX-License-Identifier: Apache-2.0
# cmake -DSOURCE=... -DCOMPILER=... -DFLAGS=... -P must_not_compile.cmake: the compiler must refuse SOURCE, and say what its line
# `// build error: REGEX` promises.
file(STRINGS "${SOURCE}" expected REGEX "^// build error: " LIMIT_COUNT 1)
string(REGEX REPLACE "^// build error: " "" expected "${expected}")
if(NOT expected)
  message(FATAL_ERROR "${SOURCE} has no line '// build error: REGEX'")
endif()
separate_arguments(FLAGS)
execute_process(COMMAND "${COMPILER}" -std=c++20 -fsyntax-only -Werror=unused-result ${FLAGS} "${SOURCE}"
  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(result EQUAL 0)
  message(FATAL_ERROR "${SOURCE} compiles, and must not")
elseif(NOT output MATCHES "${expected}")
  message(FATAL_ERROR "the compiler refuses ${SOURCE}, but does not say '${expected}':\n${output}")
endif()
