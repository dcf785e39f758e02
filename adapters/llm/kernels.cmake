# SPDX-License-Identifier: Apache-2.0
# The instruction sets of the kernels: a file of src/kernels/isa/ each, and the compiler's flags for it. Which one is used is asked at run time.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(KEDGE_INSTRUCTION_SETS baseline avx2 avx512 amx)
  set(KEDGE_FLAGS_avx2 -mavx2 -mfma)
  set(KEDGE_FLAGS_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma)
  set(KEDGE_FLAGS_amx ${KEDGE_FLAGS_avx512} -mamx-tile -mamx-bf16)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64|ARM64")
  set(KEDGE_INSTRUCTION_SETS baseline neon)
else()
  set(KEDGE_INSTRUCTION_SETS baseline)
endif()
# Of every kernel: a product and a sum are rounded as they are written, and a root sets no errno. Kernels are for speed in a debug build too:
# hundreds of small functions that aren't inlined there would be calls for each vector.
set(KEDGE_KERNEL_FLAGS -ffp-contract=off -fno-math-errno "$<$<CONFIG:Debug>:-O2>" "$<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized>")
set(KEDGE_KERNELS_DIR "${CMAKE_CURRENT_LIST_DIR}/src/kernels")

# kedge_add_kernels(<target>)
function(kedge_add_kernels target)
  foreach(isa IN LISTS KEDGE_INSTRUCTION_SETS)
    target_sources(${target} PRIVATE "${KEDGE_KERNELS_DIR}/isa/${isa}.cpp")
    set_source_files_properties("${KEDGE_KERNELS_DIR}/isa/${isa}.cpp" TARGET_DIRECTORY ${target}
      PROPERTIES COMPILE_OPTIONS "${KEDGE_KERNEL_FLAGS};${KEDGE_FLAGS_${isa}}")
  endforeach()
endfunction()
