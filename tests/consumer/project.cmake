# SPDX-License-Identifier: Apache-2.0
# The rest of each consumer project: one program for each component asked for, with warnings as errors, because kedge's headers are
# the project's own as far as its compiler is concerned.
foreach(component IN LISTS components)
  add_executable(uses_${component} ${CMAKE_CURRENT_LIST_DIR}/${component}.cpp)
  target_compile_options(uses_${component} PRIVATE -Wall -Wextra -Wconversion -Werror)
  if(component STREQUAL "core")
    target_link_libraries(uses_core PRIVATE kedge::kedge)
  else()
    target_link_libraries(uses_${component} PRIVATE kedge::${component})
  endif()
endforeach()
