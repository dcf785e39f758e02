# SPDX-License-Identifier: Apache-2.0
# cmake -DNM=... -DOBJECTS=FILE,FILE,... -P check_instruction_sets.cmake: what the object of isa/NAME.cpp defines for others must be in the
# namespace NAME. Of an inline function that several objects define the linker keeps one: if that of a standard header came from here, all
# of the program would run instructions that its processor may not have.
string(REPLACE "," ";" objects "${OBJECTS}")
if(NOT objects)
  message(FATAL_ERROR "no objects")
endif()
foreach(object IN LISTS objects)
  string(REGEX REPLACE "^.*/([^/.]+)\\.[^/]*$" "\\1" name "${object}")
  string(LENGTH "${name}" length)
  execute_process(COMMAND "${NM}" --defined-only --extern-only --format=posix "${object}"
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE problem)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${NM} ${object} failed (${result}): ${problem}")
  endif()
  # A symbol a line, its name in front. Names are mangled: 5kedge3llm4avx2 is kedge::llm::avx2. DW.ref. are addresses, the same in all.
  string(REGEX MATCHALL "[^\n]+" symbols "${output}")
  set(own "${symbols}")
  list(FILTER own INCLUDE REGEX "5kedge3llm${length}${name}")
  if(NOT own)
    message(FATAL_ERROR "${object} defines nothing in kedge::llm::${name}")
  endif()
  list(FILTER symbols EXCLUDE REGEX "5kedge3llm${length}${name}|^DW\\.ref\\.")
  if(symbols)
    list(JOIN symbols "\n" symbols)
    message(FATAL_ERROR "${object} defines what other files may define too; give the kernel a function of its own instead:\n${symbols}")
  endif()
endforeach()
