# SPDX-License-Identifier: Apache-2.0
# cmake -DPROJECT=... -DBINARY=... -DCOMPONENTS=core,... -DGENERATOR=... -DARGUMENTS=... -P build_and_run.cmake: configures a consumer project in a fresh folder,
# builds it and runs its programs.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nended with ${result}:\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE "${BINARY}")
run("${CMAKE_COMMAND}" -S "${PROJECT}" -B "${BINARY}" -G "${GENERATOR}" --no-warn-unused-cli "-DCOMPONENTS=${COMPONENTS}" ${ARGUMENTS})
if(output MATCHES "CMake Warning")
  message(FATAL_ERROR "configuring warns:\n${output}")
endif()
run("${CMAKE_COMMAND}" --build "${BINARY}")
string(REPLACE "," ";" COMPONENTS "${COMPONENTS}")
foreach(component IN LISTS COMPONENTS)
  run("${BINARY}/uses_${component}")
endforeach()
file(REMOVE_RECURSE "${BINARY}")
