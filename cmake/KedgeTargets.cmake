# SPDX-License-Identifier: Apache-2.0
# What every target of the project needs: a header set, an export set, and warnings for our own sources.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# kedge_header_set(<target> <folder> [<room>...] [FILES <header>...]): every .hpp under <folder>, or under the rooms in it, is public,
# and so are single headers of a room that two targets share. Found by pattern so that none can be forgotten by the header check and
# the installation.
function(kedge_header_set target folder)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "FILES")
  get_target_property(type ${target} TYPE)
  set(scope PUBLIC)
  if(type STREQUAL "INTERFACE_LIBRARY")
    set(scope INTERFACE)
  endif()
  cmake_path(ABSOLUTE_PATH folder)
  list(TRANSFORM arg_UNPARSED_ARGUMENTS PREPEND "${folder}/" OUTPUT_VARIABLE places)
  list(TRANSFORM arg_FILES PREPEND "${folder}/")
  if(NOT places)
    set(places "${folder}")
  endif()
  list(TRANSFORM places APPEND "/*.hpp")
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${places})
  target_sources(${target} ${scope} FILE_SET HEADERS BASE_DIRS "${folder}" FILES ${headers} ${arg_FILES})
  set_target_properties(${target} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ${PROJECT_IS_TOP_LEVEL})
endfunction()

# kedge_export(<component> <target>...): installed and exported as kedge::..., in an export file of the component's own.
function(kedge_export component)
  if(NOT KEDGE_INSTALL)
    return()
  endif()
  install(TARGETS ${ARGN} EXPORT kedge-${component} FILE_SET HEADERS)
  install(EXPORT kedge-${component} NAMESPACE kedge:: FILE kedge-${component}-targets.cmake
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/kedge)
endfunction()

# kedge_install_config(): what find_package(kedge) reads, beside the export files of the components.
function(kedge_install_config)
  if(NOT KEDGE_INSTALL)
    return()
  endif()
  set(place ${CMAKE_INSTALL_LIBDIR}/cmake/kedge)
  configure_package_config_file(cmake/kedge-config.cmake.in kedge-config.cmake INSTALL_DESTINATION ${place})
  # Header-only, so of no architecture; a compiled llm is checked against its LibTorch by the config file.
  write_basic_package_version_file(kedge-config-version.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
  install(FILES
    "${PROJECT_BINARY_DIR}/kedge-config.cmake" "${PROJECT_BINARY_DIR}/kedge-config-version.cmake"
    cmake/FindLibTorch.cmake cmake/KedgeWheels.cmake
    DESTINATION ${place})
  install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
endfunction()

# Warnings are for our own sources only: linked PRIVATE, never exported.
add_library(kedge_dev_warnings INTERFACE)
target_compile_options(kedge_dev_warnings INTERFACE -Wall -Wextra -Wconversion $<$<BOOL:${KEDGE_WERROR}>:-Werror>
  # What GCC 12 finds only after inlining is mostly false: the empty storage of a std::optional (its bug 80635), "text" + std::string
  # (105651), the comparison of two vectors. The sanitizers look for the real ones.
  "$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized;-Wno-restrict;-Wno-stringop-overread;-Wno-stringop-overflow;-Wno-array-bounds>"
  # The stable_sort of libstdc++ 12 calls what the same library calls deprecated.
  $<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations>)
