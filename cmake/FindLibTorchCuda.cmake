# SPDX-License-Identifier: Apache-2.0
#[=[
What libkedge-cuda.so is built with: the CUDA part of the LibTorch that FindLibTorch found, NVIDIA's headers and run-time library, and nvcc.

Headers and libcudart are those of nvcc's toolkit, then those of the wheels beside LibTorch. nvcc is the first of these whose major version is that of
LibTorch's CUDA: KEDGE_NVCC, $CUDA_HOME/bin, the PATH, /usr/local/cuda/bin, .deps/nvcc of the project, where ./dev unpacks the pinned wheels.

Defines LibTorchCuda_FOUND, LibTorchCuda_VERSION (LibTorch's CUDA), LibTorchCuda_NVCC, LibTorch::Cuda; and LibTorchCuda_why_not, a sentence.

As a script, `cmake -DNEED=nvcc -P cmake/FindLibTorchCuda.cmake` fails where there is no nvcc that fits, with -DNEED=libraries where LibTorch has no
CUDA part or its libraries are missing: ./dev asks before it downloads.
]=]
cmake_minimum_required(VERSION 3.25)
if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  include("${CMAKE_CURRENT_LIST_DIR}/FindLibTorch.cmake")
  set(LibTorch_LIBRARY_DIR "${LibTorch_DIR_FOUND}/lib")
endif()

# The CUDA of a LibTorch, "13.2"; "" where its files don't tell.
function(libtorch_cuda_version root result)
  set(version "")
  if(EXISTS "${root}/version.py")
    file(STRINGS "${root}/version.py" version REGEX "^cuda.*= *'[0-9.]+'" LIMIT_COUNT 1)
  elseif(EXISTS "${root}/build-version")
    file(STRINGS "${root}/build-version" version REGEX "[+]cu[0-9]+" LIMIT_COUNT 1)
    string(REGEX REPLACE ".*[+]cu([0-9]+)([0-9])$" "'\\1.\\2'" version "${version}")
  endif()
  string(REGEX MATCH "'([0-9.]+)'" version "${version}")
  set(${result} "${CMAKE_MATCH_1}" PARENT_SCOPE)
endfunction()

# The version of an nvcc, "" where it doesn't run.
function(nvcc_version program result)
  execute_process(COMMAND "${program}" --version OUTPUT_VARIABLE text ERROR_QUIET)
  string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" text "${text}")
  set(${result} "${CMAKE_MATCH_1}" PARENT_SCOPE)
endfunction()

set(LibTorchCuda_why_not "")
set(LibTorchCuda_NVCC "")
set(LibTorchCuda_VERSION "")
if(LibTorch_DIR_FOUND)
  libtorch_cuda_version("${LibTorch_DIR_FOUND}" LibTorchCuda_VERSION)
endif()
string(REGEX MATCH "^[0-9]+" LibTorchCuda_major "${LibTorchCuda_VERSION}")

# Wheels keep NVIDIA's files beside LibTorch, others within it or in the system.
get_filename_component(LibTorchCuda_wheels "${LibTorch_DIR_FOUND}/../nvidia" ABSOLUTE)
if(NOT EXISTS "${LibTorch_LIBRARY_DIR}/libtorch_cuda.so" OR NOT LibTorchCuda_major)
  set(LibTorchCuda_problem_libraries "the LibTorch in ${LibTorch_DIR_FOUND} has no CUDA part")
elseif(EXISTS "${LibTorchCuda_wheels}" AND NOT EXISTS "${LibTorchCuda_wheels}/nccl/lib/libnccl.so.2")
  set(LibTorchCuda_problem_libraries "the CUDA libraries of the LibTorch in ${LibTorch_DIR_FOUND} are not there (./dev build --cuda fetches the pinned ones)")
endif()

if(LibTorchCuda_major)
  set(LibTorchCuda_others "")
  find_program(LibTorchCuda_on_path nvcc NO_CACHE)
  set(LibTorchCuda_candidates "${KEDGE_NVCC}" "$ENV{CUDA_HOME}/bin/nvcc" "${LibTorchCuda_on_path}" /usr/local/cuda/bin/nvcc
    "${CMAKE_CURRENT_LIST_DIR}/../.deps/nvcc/nvidia/cu${LibTorchCuda_major}/bin/nvcc")
  list(REMOVE_DUPLICATES LibTorchCuda_candidates)
  foreach(candidate IN LISTS LibTorchCuda_candidates)
    if(candidate AND EXISTS "${candidate}" AND NOT LibTorchCuda_NVCC)
      nvcc_version("${candidate}" LibTorchCuda_nvcc_version)
      if(LibTorchCuda_nvcc_version MATCHES "^${LibTorchCuda_major}\\.")
        get_filename_component(LibTorchCuda_NVCC "${candidate}" REALPATH)
      else()
        string(APPEND LibTorchCuda_others "; ${candidate} is of CUDA ${LibTorchCuda_nvcc_version}")
      endif()
    endif()
  endforeach()
  if(NOT LibTorchCuda_NVCC)
    set(LibTorchCuda_problem_nvcc "there is no nvcc of CUDA ${LibTorchCuda_major}, as this LibTorch is (./dev build --cuda fetches one, KEDGE_NVCC names one)${LibTorchCuda_others}")
  endif()
endif()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  if(LibTorchCuda_problem_${NEED})
    message(FATAL_ERROR "${LibTorchCuda_problem_${NEED}}")
  endif()
  message(STATUS "CUDA ${LibTorchCuda_VERSION}, ${LibTorchCuda_NVCC}")
  return()
endif()

foreach(part IN ITEMS libraries nvcc)
  if(LibTorchCuda_problem_${part} AND NOT LibTorchCuda_why_not)
    set(LibTorchCuda_why_not "${LibTorchCuda_problem_${part}}")
  endif()
endforeach()

if(NOT LibTorchCuda_why_not)
  get_filename_component(LibTorchCuda_toolkit "${LibTorchCuda_NVCC}/../.." ABSOLUTE)
  file(GLOB LibTorchCuda_INCLUDES "${LibTorchCuda_toolkit}/include" "${LibTorchCuda_toolkit}/targets/*/include")
  file(GLOB LibTorchCuda_wheel_includes "${LibTorchCuda_wheels}/*/include")
  list(APPEND LibTorchCuda_INCLUDES ${LibTorchCuda_wheel_includes})
  list(REMOVE_ITEM LibTorchCuda_INCLUDES /usr/include)
  file(GLOB LibTorchCuda_CUDART "${LibTorchCuda_wheels}/*/lib/libcudart.so.${LibTorchCuda_major}" "${LibTorch_LIBRARY_DIR}/libcudart*.so.${LibTorchCuda_major}"
    "${LibTorchCuda_toolkit}/lib*/libcudart.so" "${LibTorchCuda_toolkit}/targets/*/lib/libcudart.so")
  foreach(header IN ITEMS cuda_runtime_api.h cublas_v2.h cusparse.h nccl.h crt/host_defines.h)
    find_file(LibTorchCuda_header ${header} PATHS ${LibTorchCuda_INCLUDES} /usr/include NO_DEFAULT_PATH NO_CACHE)
    if(NOT LibTorchCuda_header)
      set(LibTorchCuda_why_not "${header} is neither beside LibTorch nor in ${LibTorchCuda_toolkit}")
    endif()
    unset(LibTorchCuda_header)
  endforeach()
  if(NOT LibTorchCuda_CUDART)
    set(LibTorchCuda_why_not "libcudart.so.${LibTorchCuda_major} is neither beside LibTorch nor in ${LibTorchCuda_toolkit}")
  endif()
endif()

include(FindPackageHandleStandardArgs)
set(LibTorchCuda_fits ON)
if(LibTorchCuda_why_not)
  set(LibTorchCuda_fits OFF)
endif()
find_package_handle_standard_args(LibTorchCuda REQUIRED_VARS LibTorchCuda_fits VERSION_VAR LibTorchCuda_VERSION
  REASON_FAILURE_MESSAGE "${LibTorchCuda_why_not}.")

if(LibTorchCuda_FOUND AND NOT TARGET LibTorch::Cuda)
  list(GET LibTorchCuda_CUDART 0 LibTorchCuda_CUDART)
  add_library(LibTorch::Cuda INTERFACE IMPORTED)
  set_target_properties(LibTorch::Cuda PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${LibTorchCuda_INCLUDES}"
    INTERFACE_LINK_LIBRARIES "LibTorch::LibTorch;${LibTorch_LIBRARY_DIR}/libtorch_cuda.so;${LibTorch_LIBRARY_DIR}/libc10_cuda.so;${LibTorchCuda_CUDART}")
endif()
