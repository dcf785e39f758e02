# SPDX-License-Identifier: Apache-2.0
#[=[
Arrow and Parquet as the wheel of pyarrow has them: libarrow, libparquet and their headers (docs/decisions/0012-parquet.md).

The first of these that holds them is taken:
  1. PYARROW_ROOT, a CMake or environment variable: .../site-packages/pyarrow. If it is given, it must do.
  2. the pyarrow that `python3` on the PATH would import (it is looked up, not imported)
  3. .deps/pyarrow of the project, where ./dev unpacks the pinned wheel
Version 26 is accepted, the one that is pinned: the libraries promise nothing from one to the next.

Defines PyArrow::Parquet, PyArrow_FOUND, PyArrow_VERSION, PyArrow_DIR_FOUND (the folder).

As a script, `cmake -P cmake/FindPyArrow.cmake` only says which one it would take, and fails where there is none: ./dev asks before it downloads.
]=]
cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/KedgeWheels.cmake")
set(PyArrow_accepted 26)

# The version of the pyarrow in folder `root`, or "" where it has no libraries with headers.
function(pyarrow_version root result)
  set(version "")
  file(GLOB libraries "${root}/libparquet.so.*")
  if(libraries AND EXISTS "${root}/include/parquet/arrow/reader.h" AND EXISTS "${root}/include/arrow/util/config.h")
    file(STRINGS "${root}/include/arrow/util/config.h" version REGEX "define ARROW_VERSION_STRING ")
    string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" version "${version}")
  endif()
  set(${result} "${version}" PARENT_SCOPE)
endfunction()

set(PyArrow_DIR_FOUND "")
set(PyArrow_VERSION "")
set(PyArrow_why_not "")

kedge_wheel_folders(PYARROW_ROOT ".../site-packages/pyarrow" pyarrow pyarrow/pyarrow PyArrow_candidates)

foreach(candidate IN LISTS PyArrow_candidates)
  pyarrow_version("${candidate}" PyArrow_candidate_version)
  if(PyArrow_candidate_version MATCHES "^${PyArrow_accepted}\\.")
    get_filename_component(PyArrow_DIR_FOUND "${candidate}" REALPATH)
    set(PyArrow_VERSION "${PyArrow_candidate_version}")
    break()
  elseif(PyArrow_candidate_version)
    string(APPEND PyArrow_why_not "${candidate} is of pyarrow ${PyArrow_candidate_version}; kedge takes ${PyArrow_accepted}. ")
  elseif(PYARROW_ROOT)
    string(APPEND PyArrow_why_not "PYARROW_ROOT=${candidate} holds no pyarrow with its libraries and headers. ")
  endif()
endforeach()
if(PyArrow_why_not AND PYARROW_ROOT)
  message(FATAL_ERROR "${PyArrow_why_not}Set PYARROW_ROOT to a pyarrow that does, or unset it.")
endif()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  if(NOT PyArrow_DIR_FOUND)
    message(FATAL_ERROR "No pyarrow. ${PyArrow_why_not}")
  endif()
  message(STATUS "pyarrow ${PyArrow_VERSION} in ${PyArrow_DIR_FOUND}")
  return()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(PyArrow REQUIRED_VARS PyArrow_DIR_FOUND VERSION_VAR PyArrow_VERSION
  REASON_FAILURE_MESSAGE "${PyArrow_why_not}`./dev build` fetches a pinned one, `pip install pyarrow==26.0.1` or PYARROW_ROOT=FOLDER name another.")

if(PyArrow_FOUND AND NOT TARGET PyArrow::Parquet)
  add_library(PyArrow::Parquet INTERFACE IMPORTED)
  set_target_properties(PyArrow::Parquet PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${PyArrow_DIR_FOUND}/include"
    INTERFACE_COMPILE_FEATURES cxx_std_20)
  foreach(library IN ITEMS parquet arrow)
    file(GLOB PyArrow_file "${PyArrow_DIR_FOUND}/lib${library}.so.*00")
    list(GET PyArrow_file 0 PyArrow_file)
    get_filename_component(PyArrow_soname "${PyArrow_file}" NAME)
    add_library(PyArrow::${library} SHARED IMPORTED)
    set_target_properties(PyArrow::${library} PROPERTIES IMPORTED_LOCATION "${PyArrow_file}" IMPORTED_SONAME "${PyArrow_soname}")
    set_property(TARGET PyArrow::Parquet APPEND PROPERTY INTERFACE_LINK_LIBRARIES PyArrow::${library})
  endforeach()
endif()
