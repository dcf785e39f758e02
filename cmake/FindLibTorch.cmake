# SPDX-License-Identifier: Apache-2.0
#[=[
LibTorch by its files, without TorchConfig.cmake: that one enables the CUDA language, wants a CUDA toolkit for a CPU
program, and sets directory-wide flags.

The first of these that holds a LibTorch is taken:
  1. LIBTORCH_ROOT, a CMake or environment variable: an unpacked libtorch, or .../site-packages/torch. If it is given, it must do.
  2. the torch that `python3` on the PATH would import (it is looked up, not imported)
  3. .deps/libtorch of the project, where ./dev unpacks the pinned wheels
Versions 2.11 to 2.15 are accepted.

Defines LibTorch::LibTorch, LibTorch_FOUND, LibTorch_VERSION, LibTorch_DIR_FOUND (the folder), LibTorch_LIBRARY_DIR. Its CUDA part is not
linked: it is loaded when a GPU is asked for (docs/decisions/0014-one-program.md).

As a script, `cmake -P cmake/FindLibTorch.cmake` only says which one it would take, and fails where there is none: ./dev asks before it downloads.
]=]
cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/KedgeWheels.cmake")
set(LibTorch_oldest 2.11)
set(LibTorch_newest 2.15)

# The version of the LibTorch in folder `root`, or "" where there is none.
function(libtorch_version root result)
  set(version "")
  if(EXISTS "${root}/include/torch/headeronly/version.h")
    file(STRINGS "${root}/include/torch/headeronly/version.h" lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) +[0-9]+")
    string(REGEX REPLACE ".*MAJOR +([0-9]+).*MINOR +([0-9]+).*PATCH +([0-9]+).*" "\\1.\\2.\\3" version "${lines}")
  elseif(EXISTS "${root}/build-version")
    file(STRINGS "${root}/build-version" version LIMIT_COUNT 1)
  elseif(EXISTS "${root}/version.py")
    file(STRINGS "${root}/version.py" version REGEX "^__version__" LIMIT_COUNT 1)
  endif()
  string(REGEX MATCH "[0-9]+\\.[0-9]+(\\.[0-9]+)?" version "${version}")
  if(NOT EXISTS "${root}/include/ATen/ATen.h" OR NOT EXISTS "${root}/lib/libtorch_cpu.so")
    set(version "")
  endif()
  set(${result} "${version}" PARENT_SCOPE)
endfunction()

function(libtorch_supported version result)
  string(REGEX MATCH "^[0-9]+\\.[0-9]+" minor "${version}")
  set(${result} OFF PARENT_SCOPE)
  if(minor AND minor VERSION_GREATER_EQUAL LibTorch_oldest AND minor VERSION_LESS_EQUAL LibTorch_newest)
    set(${result} ON PARENT_SCOPE)
  endif()
endfunction()

set(LibTorch_DIR_FOUND "")
set(LibTorch_VERSION "")
set(LibTorch_why_not "")

kedge_wheel_folders(LIBTORCH_ROOT "An unpacked libtorch, or .../site-packages/torch" torch libtorch/torch LibTorch_candidates)

foreach(candidate IN LISTS LibTorch_candidates)
  libtorch_version("${candidate}" LibTorch_candidate_version)
  libtorch_supported("${LibTorch_candidate_version}" LibTorch_candidate_supported)
  if(LibTorch_candidate_supported)
    get_filename_component(LibTorch_DIR_FOUND "${candidate}" REALPATH)
    set(LibTorch_VERSION "${LibTorch_candidate_version}")
    break()
  elseif(LibTorch_candidate_version)
    string(APPEND LibTorch_why_not
      "${candidate} holds LibTorch ${LibTorch_candidate_version}; kedge supports ${LibTorch_oldest} to ${LibTorch_newest}. ")
  elseif(LIBTORCH_ROOT)
    string(APPEND LibTorch_why_not
      "LIBTORCH_ROOT=${candidate} holds no LibTorch (include/ATen/ATen.h and lib/libtorch_cpu.so). ")
  endif()
endforeach()
if(LibTorch_why_not AND LIBTORCH_ROOT)
  message(FATAL_ERROR "${LibTorch_why_not}Set LIBTORCH_ROOT to a supported one, or unset it.")
endif()

if(CMAKE_SCRIPT_MODE_FILE)
  if(NOT LibTorch_DIR_FOUND)
    message(FATAL_ERROR "No LibTorch. ${LibTorch_why_not}")
  endif()
  message(STATUS "LibTorch ${LibTorch_VERSION} in ${LibTorch_DIR_FOUND}")
  return()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch REQUIRED_VARS LibTorch_DIR_FOUND VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE
    "${LibTorch_why_not}`./dev build` fetches a pinned one, `pip install torch==2.15.0` or LIBTORCH_ROOT=FOLDER name another.")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  set(LibTorch_LIBRARY_DIR "${LibTorch_DIR_FOUND}/lib")
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  set_target_properties(LibTorch::LibTorch PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${LibTorch_DIR_FOUND}/include;${LibTorch_DIR_FOUND}/include/torch/csrc/api/include"
    INTERFACE_COMPILE_FEATURES cxx_std_20)
  foreach(library IN ITEMS torch_cpu c10)
    add_library(LibTorch::${library} SHARED IMPORTED)
    set_target_properties(LibTorch::${library} PROPERTIES
      IMPORTED_LOCATION "${LibTorch_LIBRARY_DIR}/lib${library}.so"
      IMPORTED_SONAME "lib${library}.so")
    set_property(TARGET LibTorch::LibTorch APPEND PROPERTY INTERFACE_LINK_LIBRARIES LibTorch::${library})
  endforeach()
endif()
