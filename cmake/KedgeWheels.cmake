# SPDX-License-Identifier: Apache-2.0

# kedge_wheel_folders(<variable> <help> <module> <unpacked> <result>): the folders that may hold the files of a Python package, in the order of the search:
# what <variable> names, of CMake or of the environment, and nothing else then; the package that `python3` on the PATH would import (it is looked up, not
# imported); <unpacked>, below .deps of the project.
macro(kedge_wheel_folders variable help module unpacked result)
  if(NOT ${variable} AND DEFINED ENV{${variable}})
    # Kept, because a build that configures itself anew may not have the variable in its environment.
    set(${variable} "$ENV{${variable}}" CACHE PATH "${help}")
  endif()
  if(${variable})
    set(${result} "${${variable}}")
  else()
    find_program(KEDGE_PYTHON python3)
    mark_as_advanced(KEDGE_PYTHON)
    if(KEDGE_PYTHON)
      execute_process(
        COMMAND "${KEDGE_PYTHON}" -c
          "import importlib.util as u; s = u.find_spec('${module}'); print(s.submodule_search_locations[0] if s and s.submodule_search_locations else '')"
        OUTPUT_VARIABLE ${result} OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    endif()
    list(APPEND ${result} "${CMAKE_CURRENT_LIST_DIR}/../.deps/${unpacked}")
  endif()
endmacro()
