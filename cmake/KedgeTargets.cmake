# SPDX-License-Identifier: Apache-2.0
# What every target of the project needs: a header set, an export set, and warnings for our own sources.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# kedge_header_set(<target> <folder>): every .hpp under <folder> is public. Found by pattern so that none can be forgotten by the
# header check and the installation.
function(kedge_header_set target folder)
  get_target_property(type ${target} TYPE)
  set(scope PUBLIC)
  if(type STREQUAL "INTERFACE_LIBRARY")
    set(scope INTERFACE)
  endif()
  cmake_path(ABSOLUTE_PATH folder)
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS "${folder}/*.hpp")
  target_sources(${target} ${scope} FILE_SET HEADERS BASE_DIRS "${folder}" FILES ${headers})
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

# Warnings are for our own sources only: linked PRIVATE, never exported.
add_library(kedge_dev_warnings INTERFACE)
target_compile_options(kedge_dev_warnings INTERFACE -Wall -Wextra -Wconversion $<$<BOOL:${KEDGE_WERROR}>:-Werror>
  # GCC 12 takes the empty storage of a std::optional for an uninitialised value (its bug 80635). The sanitizers look for real ones.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
