#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What every kernel of a GPU takes, as a table: registers of a thread and bytes of static shared memory for each kind of GPU, bytes that are spilled to
# memory, and how many instructions of its code load and store 16 bytes.
#   bench/cuda_resources.sh LOG PTX     of a build: cuda_kernels.o.log, which has what `nvcc -Xptxas -v` says, and cuda_kernels.ptx
# Exit code 1 where anything is spilled, where a kernel of whole vectors loads none of 16 bytes, or where nothing is found.
set -euo pipefail
[[ $# == 2 ]] || { sed -n '3,6s/^# //p' "$0" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
c++filt < "$1" > "$folder/log"
c++filt < "$2" > "$folder/ptx"
awk '
  # void kedge::llm::gpu::kedge_kernel<kedge::llm::gpu::NAME<unsigned short, 8> >(…) -> NAME<bf16, 8>
  function short(text) {
    sub(/.*kedge_kernel</, "", text)
    sub(/>\(.*/, "", text)
    gsub(/kedge::llm::gpu::/, "", text)
    gsub(/unsigned short/, "bf16", text)
    gsub(/\(kedge::llm::gpu_moments\)0/, "fp32", text); gsub(/\(kedge::llm::gpu_moments\)1/, "bf16", text); gsub(/\(kedge::llm::gpu_moments\)2/, "8 bits", text)
    sub(/ +$/, "", text)
    return text
  }
  FNR == 1 { ++file }
  file == 1 && /Compiling entry function/ { split($0, part, "\047"); kernel = short(part[2]); of = part[4]; if (!(of in known)) { known[of]; order[++kinds] = of }
                                            if (!(kernel in seen)) { seen[kernel]; names[++count] = kernel } }
  file == 1 && /spill stores/ { match($0, /[0-9]+ bytes spill stores/); stores = substr($0, RSTART) + 0; match($0, /[0-9]+ bytes spill loads/); spilled[kernel] += stores + substr($0, RSTART) }
  file == 1 && /Used [0-9]+ registers/ { match($0, /Used [0-9]+/); registers[kernel, of] = substr($0, RSTART + 5, RLENGTH - 5)
                                         if (match($0, /[0-9]+ bytes smem/)) { bytes = substr($0, RSTART) + 0; if (bytes > memory[kernel]) memory[kernel] = bytes } }
  file == 2 && /^\.?.*\.entry/ { kernel = short($0) }
  file == 2 && /[ \t]ld(\.global)?(\.nc)?(\.L[a-zA-Z0-9_:]+)*\.(v4|v2)\.[a-z]*(32|64)/ && !/\.v2\.[a-z]*32/ { ++loads[kernel] }
  file == 2 && /[ \t]st(\.global)?\.(v4|v2)\.[a-z]*(32|64)/ && !/\.v2\.[a-z]*32/ { ++writes[kernel] }
  END {
    if (!count) { print "cuda_resources.sh: no kernels in the log" > "/dev/stderr"; exit 1 }
    printf "| kernel |"; for (k = 1; k <= kinds; ++k) printf " %s |", order[k]; print " shared bytes | spilled | 16-byte loads, stores |"
    printf "|---|"; for (k = 1; k <= kinds; ++k) printf "---:|"; print "---:|---:|---:|"
    for (i = 1; i <= count; ++i) {
      kernel = names[i]
      printf "| `%s` |", kernel
      for (k = 1; k <= kinds; ++k) printf " %s |", registers[kernel, order[k]]
      printf " %d | %d | %d, %d |\n", memory[kernel], spilled[kernel], loads[kernel], writes[kernel]
      if (spilled[kernel]) bad = bad " " kernel
      if (kernel ~ /<(bf16|either), 8|<float, 4|^adam/ && !loads[kernel]) narrow = narrow " " kernel
    }
    if (narrow) { print "cuda_resources.sh: no 16 bytes are loaded at once by" narrow > "/dev/stderr"; exit 1 }
    if (bad) { print "cuda_resources.sh: registers are spilled to memory by" bad > "/dev/stderr"; exit 1 }
  }' "$folder/log" "$folder/ptx"
