# SPDX-License-Identifier: Apache-2.0
# run(<exit code> <argument>...): runs PROGRAM, fails where it ends with another code, and leaves what it wrote in `output` and `errors`.
cmake_path(GET PROGRAM FILENAME name)

function(run code)
  execute_process(COMMAND "${PROGRAM}" ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE out ERROR_VARIABLE err)
  if(NOT result STREQUAL code)
    message(FATAL_ERROR "${name} ${ARGN}: exit code ${result}, not ${code}\n${out}${err}")
  endif()
  set(output "${out}" PARENT_SCOPE)
  set(errors "${err}" PARENT_SCOPE)
endfunction()
