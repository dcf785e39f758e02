# SPDX-License-Identifier: Apache-2.0
# The kernels of a GPU, compiled by nvcc for every kind of GPU that is listed here. CMake knows CUDA as a language only where it may run the compiler's
# own tests; two commands do without.
set(KEDGE_GPU_ARCHITECTURES 80 90 100)  # A100; H100 and H200; B200. The last one's code runs on those that come, compiled there once more
set(KEDGE_NVCC_FLAGS -std=c++20 -O3 --expt-relaxed-constexpr -fmad=false)  # a product and a sum are rounded as they are written, as on the host
set(KEDGE_CUDA_KERNELS_DIR "${CMAKE_CURRENT_LIST_DIR}/src/kernels/cuda")

# kedge_add_cuda_kernels(<nvcc> <objects>): the target kedge_cuda_kernels, and what a library has to be linked with in the variable <objects>. Beside
# them lie what ptxas says of every kernel, and the kernels in PTX: bench/cuda_resources.sh reads both.
function(kedge_add_cuda_kernels nvcc objects)
  set(object "${CMAKE_CURRENT_BINARY_DIR}/cuda_kernels.o")
  set(ptx "${CMAKE_CURRENT_BINARY_DIR}/cuda_kernels.ptx")
  set(command "${nvcc}" -ccbin "${CMAKE_CXX_COMPILER}" ${KEDGE_NVCC_FLAGS} "${KEDGE_CUDA_KERNELS_DIR}/table.cu")
  set(architectures "")
  foreach(architecture IN LISTS KEDGE_GPU_ARCHITECTURES)
    list(APPEND architectures -gencode "arch=compute_${architecture},code=sm_${architecture}")
  endforeach()
  list(GET KEDGE_GPU_ARCHITECTURES -1 newest)
  list(APPEND architectures -gencode "arch=compute_${newest},code=compute_${newest}")
  add_custom_command(OUTPUT "${object}" BYPRODUCTS "${object}.log" DEPFILE "${object}.d" VERBATIM COMMENT "Building kernels of GPUs"
    COMMAND ${CMAKE_COMMAND} "-DLOG=${object}.log" -P "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/cuda_compile.cmake" --
      ${command} ${architectures} --threads 0 -Xptxas -v -Xcompiler -fPIC,-fvisibility=hidden -MD -MF "${object}.d" -c -o "${object}"
    DEPENDS "${KEDGE_CUDA_KERNELS_DIR}/table.cu")
  add_custom_command(OUTPUT "${ptx}" DEPFILE "${ptx}.d" VERBATIM COMMENT "Building kernels of GPUs in PTX"
    COMMAND ${CMAKE_COMMAND} -P "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/cuda_compile.cmake" --
      ${command} -arch=compute_90 -MD -MF "${ptx}.d" -ptx -o "${ptx}"
    DEPENDS "${KEDGE_CUDA_KERNELS_DIR}/table.cu")
  add_custom_target(kedge_cuda_kernels DEPENDS "${object}" "${ptx}")
  set_property(TARGET kedge_cuda_kernels PROPERTY KEDGE_RESOURCES "${object}.log" "${ptx}")
  set_source_files_properties("${object}" PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  set(${objects} "${object}" PARENT_SCOPE)
endfunction()

# Where there is an nvcc. LibTorch's CUDA decides which, if it has one: FindLibTorchCuda.
set(KEDGE_CUDA_OBJECTS "")
set(nvcc "${LibTorchCuda_NVCC}")
if(NOT nvcc)
  unset(nvcc)
  find_program(nvcc nvcc HINTS /usr/local/cuda/bin NO_CACHE)
endif()
if(nvcc)
  kedge_add_cuda_kernels("${nvcc}" KEDGE_CUDA_OBJECTS)
endif()
