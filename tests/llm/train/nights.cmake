# SPDX-License-Identifier: Apache-2.0
# cmake -DPROGRAM=.../kedge-nights -DFOLDER=... -P nights.cmake: tables and claims of figures that are known, and one clear line where they can't be had.
include("${CMAKE_CURRENT_LIST_DIR}/../../support/run_program.cmake")
file(REMOVE_RECURSE "${FOLDER}")
file(MAKE_DIRECTORY "${FOLDER}")

# Two seeds of two methods: means 0.2 and 0.6, and a difference of 0.4 without spread.
set(book "${FOLDER}/figures.json")
  file(WRITE "${book}" "{\"noise 0, rate 5e-05\": {
    \"DPO\": {\"settings\": {}, \"seeds\": {\"1\": {\"reward\": [-0.6, 0.1], \"kl\": [0, 1], \"seconds\": 1800}, \"2\": {\"reward\": [-0.6, 0.3], \"kl\": [0, 1], \"seconds\": 1800}}},
    \"sDPO 2, easy-to-hard, rate over the round\": {\"settings\": {}, \"seeds\": {\"1\": {\"reward\": [-0.6, 0.5], \"kl\": [0, 2], \"seconds\": 0},
      \"2\": {\"reward\": [-0.6, 0.7], \"kl\": [0, 2], \"seconds\": 0}}}}}")
run(0 --night sdpo-sources --tiny --tables --output_dir "${FOLDER}/out" --results "${book}")
foreach(part IN ITEMS "1.00 hours of a processor" "[|] DPO [|] 0.200 ± 1.271 [|] 1.000 ± 0.000 [|]" "[|] sDPO 2, easy-to-hard, rate over the round [|] 0.600 ± 1.271 [|]"
        "rate over the round ends above DPO [|] 0.400 ± 0.000 [|] 2 [|] [0-9.e-]+ [|] holds" "rate over the run ends above DPO [|]  [|] 0 [|] 1 [|] does not show")
  if(NOT output MATCHES "${part}")
    message(FATAL_ERROR "the tables have no '${part}':\n${output}")
  endif()
endforeach()

# One clear line, and the file as it was.
file(WRITE "${FOLDER}/list.json" "[1]")
run(1 --night sdpo-sources --tiny --tables --output_dir "${FOLDER}/out" --results "${FOLDER}/list.json")
if(NOT errors MATCHES "^kedge-nights: .*list.json: not the figures of a night[^\n]*\n$")
  message(FATAL_ERROR "not one clear line: ${errors}")
endif()
run(2 --night sdpo-sources --tiny --tables --output_dir "${FOLDER}/out")
run(2 --night no-such --tiny --tables --output_dir "${FOLDER}/out" --results "${book}")

# The pages in docs/nights are the tables of the figures beside them.
file(GLOB books "${DOCS}/nights/*.json")
if(NOT books)
  message(FATAL_ERROR "there are no figures in ${DOCS}/nights")
endif()
foreach(book IN LISTS books)
  if(NOT book MATCHES "/([a-z-]+)-(tiny|smollm2)[.]json$")
    message(FATAL_ERROR "${book} is not named NIGHT-tiny.json or NIGHT-smollm2.json")
  endif()
  set(night "${CMAKE_MATCH_1}")
  set(world)
  if(CMAKE_MATCH_2 STREQUAL tiny)
    set(world --tiny)
  endif()
  run(0 --night ${night} ${world} --tables --output_dir "${FOLDER}/out" --results "${book}")
  string(REGEX REPLACE "json$" "md" page "${book}")
  file(READ "${page}" written)
  if(NOT output STREQUAL written)
    message(FATAL_ERROR "${page} is not what its figures say; write it anew: kedge-nights --night ${night} ${world} --tables --output_dir nights --results ${book} > ${page}")
  endif()
endforeach()
