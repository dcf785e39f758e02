#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What has to hold on a GPU, and how fast it is there, in at most eight minutes, with programs that were built elsewhere.
#
#   bench/gpu.sh --pack FOLDER [--build DIR] [--torch DIR]    here: FOLDER gets all that the machine with the GPU needs
#   FOLDER/gpu.sh --run [FLAGS]                               there: FOLDER/results/gpu.json and gpu.html, and a line a part on stdout
#
# --build DIR        the build folder whose programs are packed (default: build); made with ./dev build --cuda and the target kedge_benchmarks
# --torch DIR        pack: the LibTorch it was built with, whose version is compared. run: the one to use (default: $LIBTORCH_ROOT, else that of
#                    python3). Either way versions have to agree in their first two numbers
# --budget SECONDS   for everything (480). Each part has its share and what earlier ones left of theirs, and is ended then
# --only PART,PART   those parts alone; --list names them
# --device NAME      cuda, cuda:N or cpu
# --shape tiny       one tiny model instead of real ones: with --device cpu this rehearses everything where there is no GPU
# --work DIR         for models and runs: /dev/shm where it has 30 GB, else $TMPDIR
# --peak TFLOPS      dense bf16, that MFU is a share of; else by the GPU's name, else the rate of a large product
#
# A part that fails, or is ended, stops no other; results so far are written after each. Exit code 1 where a part failed or was ended.
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
die() { printf 'gpu.sh: %s\n' "$*" >&2; exit 1; }
skip() { printf '%s\n' "$*" >&2; exit 77; }    # of a part: said in the results, no failure

# NAME SECONDS TITLE: the shares of 480 s
parts='device 15 What there is
rates 15 What the device can do
parity 50 Log-probabilities and gradients of every family against float64 on the host
confident 10 Gradients of tokens that are nearly certain
first_loss 10 The loss before the first step
graphs 15 Recorded passes against computed ones
kernels 40 Every kernel against its host twin
train_135m 40 kedge dpo, 135 million parameters
train_0.5b 45 kedge dpo, half a billion parameters
train_1b 60 kedge dpo, one billion parameters
generate 30 kedge generate, one billion parameters
trl 50 TRL with its best settings, one billion parameters
train_7b 100 kedge dpo, seven billion parameters'

# torch_version DIR: "2.15" of a LibTorch's folder, nothing where it is none.
torch_version() {
  local file
  for file in "$1/version.py" "$1/build-version"; do
    [[ -e $file ]] || continue
    sed -nE "s/^(__version__ = ')?([0-9]+\.[0-9]+)\..*/\2/p" "$file" | head -1
    return
  done
}

# --- here ------------------------------------------------------------------------------------------------------------------------

pack() {
  local root to=$1 program family built
  root=$(cd "$here/.." && pwd)
  [[ ! -e $to ]] || die "$to exists; name a new folder"
  for program in kedge kedge-trainer kedge_gpu_check kedge_gpu_kit; do
    [[ -x $build/bin/$program ]] || die "$build/bin/$program is missing; ./dev build --target kedge_programs kedge_gpu_check kedge_gpu_kit"
  done
  built=$("$build/bin/kedge" --version | sed -nE 's/^LibTorch ([0-9]+\.[0-9]+).*/\1/p')
  if [[ -n $torch && $(torch_version "$torch") != "$built" ]]; then
    die "$build was built with LibTorch $built, and $torch holds '$(torch_version "$torch")'"
  fi
  mkdir -p "$to/bin" "$to/families" "$to/shapes"
  cp "$build"/bin/{kedge,kedge-trainer,kedge_gpu_check,kedge_gpu_kit} "$to/bin/"
  for program in "$build"/bin/libkedge-*.so; do [[ ! -e $program ]] || cp "$program" "$to/bin/"; done
  cp "$root"/bench/gpu/shapes/*.json "$root"/tests/golden/papers/llama-2-7b.json "$to/shapes/"
  for family in "$root"/tests/golden/families/*/; do
    mkdir "$to/families/$(basename "$family")"
    cp "$family"/config.json "$family"/*.safetensors "$to/families/$(basename "$family")/"
  done
  cp "$root/bench/gpu.sh" "$root/bench/gpu_trl.py" "$to/"
  printf '%s\n' "$built" >"$to/built-with"
  ls "$to"/bin/libkedge-cuda*.so >/dev/null 2>&1 || printf 'gpu.sh: %s has no libkedge-cuda: what is packed is for a processor\n' "$build" >&2
  printf 'gpu.sh: %s, %s, for LibTorch %s.x of that machine; there: %s/gpu.sh --run\n' "$to" "$(du -sh "$to" | cut -f1)" "$built" "$(basename "$to")"
}

# --- there: parts, each in a process of its own, rows of results on stdout --------------------------------------------------------------

kit() { "$here/bin/kedge_gpu_kit" "$@"; }
check() {
  local small=()
  [[ $shape != tiny ]] || small=(--small)
  [[ $device != cpu ]] || small+=(--gpu_way)    # by the kernels' bodies
  "$here/bin/kedge_gpu_check" --device "$device" "${small[@]}" "$@"
}
shape_file() { if [[ $shape == tiny ]]; then echo "$here/shapes/tiny.json"; else echo "$here/shapes/$1.json"; fi; }

part_device() {
  "$here/bin/kedge" --version | sed -E 's/["\\]/\\&/g; s/^([^ :]+):? (.*)/{"what": "\1", "is": "\2"}/'
  if [[ $device != cpu ]]; then
    nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap,power.limit --format=csv,noheader |
      sed -E 's/["\\]/\\&/g; s/(.*)/{"what": "GPU", "is": "\1"}/'
  fi
}
part_rates() { check rates; }
part_parity() { check parity "$here/families"; }
part_confident() { check confident; }
part_first_loss() { check first_loss; }
part_graphs() { check graphs; }
part_kernels() { check kernels; }

device_number() { local which=${device#cuda}; which=${which#:}; echo "${which:-0}"; }
device_bytes() {
  if [[ $device == cpu ]]; then awk '/^MemAvailable/ {printf "%.0f\n", $2 * 1024}' /proc/meminfo; return; fi
  echo $(($(nvidia-smi --query-gpu=memory.free --format=csv,noheader,nounits --id="$(device_number)") * 1048576))
}

# Operations a second of the device, as its maker says; 0 where its name is unknown.
peak_of_name() {
  case $(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1) in
    *B200*) echo 2250e12 ;;
    *H100*PCIe*) echo 756e12 ;;
    *H100*NVL*) echo 835e12 ;;
    *H100* | *H200*) echo 989e12 ;;
    *A100*) echo 312e12 ;;
    *L40S*) echo 362e12 ;;
    *) echo 0 ;;
  esac
}
measured_peak() { sed -nE 's/.*"of":"BFloat16".*"TFLOP\/s":([0-9.e+-]+).*/\1e12/p' "$results/rates.jsonl" 2>/dev/null | head -1; }

# model NAME: the folder of its random weights in $work, made once.
model() {
  local to=$work/$1 file
  file=$(shape_file "$1")
  [[ -e $to/model.safetensors ]] || kit model "$file" "$to"
  echo "$to"
}

# lengths NAME: most tokens of prompt and of a completion
lengths() {
  case $shape-$1 in tiny-short) echo 12 8 ;; tiny-long) echo 48 24 ;; *-short) echo 128 128 ;; *-long) echo 1024 512 ;; esac
}

# Bytes of the device that are used, twice a second, to $work/memory; of a processor none, whose peak the run itself tells.
watch_memory() {
  echo 0 >"$work/memory"
  [[ $device != cpu ]] || return 0
  while sleep 0.5; do
    echo $(($(nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits --id="$(device_number)") * 1048576)) >>"$work/memory"
  done
}

# train NAME GIGABYTES STEPS-SHORT STEPS-LONG: kedge dpo with its defaults, by full training where memory allows, else what does.
train() {
  local name=$1 need=$2 kind steps folder way fixed of_token most kept flags longest own peak
  shift 2
  if [[ $shape == tiny ]]; then need=1; set -- 6 6; fi
  [[ $(df --output=avail -B1G "$work" | tail -1) -ge $need ]] || skip "$work has less than $need GB; --work names another folder"
  read -r way fixed of_token most kept flags < <("$here/bin/kedge_gpu_check" way "$(shape_file "$name")" --memory "$(device_bytes)")
  folder=$(model "$name")
  peak=${peak_tflops:+${peak_tflops}e12}
  for kind in short long; do
    steps=$1
    shift
    read -r longest own < <(lengths "$kind")
    kit pairs "$folder/config.json" "$work/pairs.jsonl" --pairs $(((8 * steps + 2) / 3)) --prompt "$longest" --completion "$own"
    rm -rf "$work/out"
    watch_memory &
    # shellcheck disable=SC2064
    trap "kill $! 2>/dev/null || true" EXIT    # where the run fails, too
    # shellcheck disable=SC2086
    "$here/bin/kedge" dpo --model_name_or_path "$folder" --dataset "$work/pairs.jsonl" --output_dir "$work/out" --device "$device" --max_length 0 \
      --max_steps "$steps" --logging_steps 1 --save_strategy no --save_dtype bfloat16 --json --quiet $flags >"$work/summary.json"
    kill $! 2>/dev/null || true
    kit rate --config "$(shape_file "$name")" --pairs "$work/pairs.jsonl" --run "$work/out" --summary "$work/summary.json" --way "$way" --lengths "$kind" \
      --fixed "$fixed" --of_token "$of_token" --tokens "$most" --kept "$kept" --measured "$(sort -n "$work/memory" | tail -1)" --peak "${peak:-$(peak_of_name)}" --measured_peak "$(measured_peak || echo 0)"
    rm -rf "$work/out"
  done
}
part_train_135m() { train smollm2-135m 2 40 25; }
part_train_0.5b() { train qwen2.5-0.5b 4 30 15; }
part_train_1b() { train llama-3.2-1b 8 25 12; }
part_train_7b() { rm -rf "$work"/{smollm2,qwen2.5,llama-3.2}-*; train llama-2-7b 30 12 8; }

part_generate() {
  local folder sequences tokens longest own
  folder=$(model llama-3.2-1b)
  for sequences in 1 64; do
    if [[ $shape == tiny ]]; then tokens=8; else tokens=128; fi
    read -r longest own < <(lengths short)
    kit pairs "$folder/config.json" "$work/prompts.jsonl" --pairs "$sequences" --prompt "$longest" --completion "$own"
    "$here/bin/kedge" generate --model_name_or_path "$folder" --prompts "$work/prompts.jsonl" --output "$work/samples.jsonl" --device "$device" --batch_size "$sequences" \
      --max_new_tokens "$tokens" --ignore_eos --temperature 1 --json --quiet |
      sed -E 's/^\{/{"sequences":'"$sequences"',/; s/"tokens_per_second"/"tokens\/s"/'
  done
}

part_trl() {
  local folder
  [[ $device != cpu ]] || skip 'TRL is compared on GPUs; for a processor there is ./dev bench --against trl'
  python3 -c 'import trl' 2>/dev/null || skip "$(command -v python3 || echo 'no python3'): no TRL there"
  folder=$(model llama-3.2-1b)
  kit pairs "$folder/config.json" "$work/pairs.jsonl" --pairs 64 --prompt 1024 --completion 512
  python3 "$here/gpu_trl.py" "$folder" "$work/pairs.jsonl" 10
}

# --- there: the clock, and what becomes of parts ----------------------------------------------------------------------------------------

now() { echo "$EPOCHREALTIME"; }
calculate() { awk "BEGIN { printf \"%.3f\", $1 }"; }

find_torch() {
  local built
  built=$(cat "$here/built-with")
  if [[ -z $torch ]]; then torch=${LIBTORCH_ROOT:-$(python3 -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])' 2>/dev/null || true)}; fi
  [[ -n $torch && -d $torch/lib ]] || die "no LibTorch $built here; pip install torch==$built.*, or name its folder by --torch"
  [[ $(torch_version "$torch") == "$built" ]] || die "$torch is LibTorch '$(torch_version "$torch")', and the programs were built with $built; pack for that one (--build), or name another by --torch"
  export LD_LIBRARY_PATH=$torch/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} LIBTORCH_ROOT=$torch
}

describe_machine() {
  local name
  name=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1 || true)
  if [[ $device == cpu || -z $name ]]; then name="no GPU: $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"; fi
  printf '{"device": "%s", "asked for": "%s", "shapes": "%s", "LibTorch": "%s", "processors": %s, "when": "%s"}\n' "$name" "$device" "$shape" \
    "$(torch_version "$torch")" "$(nproc)" "$(date -u +%Y-%m-%dT%H:%MZ)" >"$results/machine.json"
}

# run_part NAME SECONDS TITLE: at most so long; what it left of it is the next one's.
run_part() {
  local name=$1 limit start status code=0
  limit=$(calculate "$2 * $budget / 480 + $saved")
  start=$(now)
  timeout --kill-after=2 "$limit" bash "$here/gpu.sh" --part "$name" >"$results/$name.jsonl" 2>"$results/$name.err" </dev/null || code=$?
  local took
  took=$(calculate "$(now) - $start")
  saved=$(calculate "($limit > $took) * ($limit - $took)")
  case $code in
    0) status=ok ;;
    77) status=skipped ;;
    124 | 137) status=ended; printf 'ended after %.1f s\n' "$took" >>"$results/$name.err" ;;
    *) status=failed ;;
  esac
  printf '%s\t%s\t%s\t%s\n' "$name" "$status" "$took" "$3" >>"$results/parts.tsv"
  case $status in ok | skipped) ;; *) bad=1 ;; esac
  summary=$(kit page "$results") || summary="$name: $status"
  printf '%s\n' "$summary" | tail -1
  rm -rf "$work/out"
}

run() {
  local name seconds title bad=0 saved=0 summary known
  [[ -e $here/built-with ]] || die "--run is for a packed folder: bench/gpu.sh --pack FOLDER makes one"
  known=$(cut -d' ' -f1 <<<"$parts")
  for name in ${only//,/ }; do grep -qxF "$name" <<<"$known" || die "no part '$name'; --list names them"; done
  find_torch
  mkdir -p "$results"
  rm -f "$results"/*.jsonl "$results"/*.err "$results"/{parts.tsv,gpu.json,gpu.html}
  if [[ -z $work ]]; then
    work=${TMPDIR:-/tmp}
    if [[ $(df --output=avail -B1G /dev/shm 2>/dev/null | tail -1) -ge 30 ]]; then work=/dev/shm; fi
  fi
  work=$(mktemp -d "$work/kedge-gpu.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  export work results device shape peak_tflops
  describe_machine
  while read -r name seconds title; do
    if [[ -z $only || ,$only, == *,$name,* ]]; then run_part "$name" "$seconds" "$title"; fi
  done <<<"$parts"
  printf 'gpu.sh: %s/gpu.html and gpu.json\n' "$results"
  return "$bad"
}

build=$here/../build results=${results:-$here/results} device=${device:-cuda} shape=${shape:-real} work=${work:-} peak_tflops=${peak_tflops:-} torch='' budget=480 only='' action='' folder=''
value() { [[ $# -gt 1 ]] || die "$1 needs a value"; printf '%s' "$2"; }
while [[ $# -gt 0 ]]; do
  case $1 in
    --pack) action=pack folder=$(value "$@"); shift 2 ;;
    --part) action=part folder=$(value "$@"); shift 2 ;;
    --run | --list | --help) action=${1#--}; shift ;;
    --build) build=$(value "$@"); shift 2 ;;
    --torch) torch=$(value "$@"); shift 2 ;;
    --budget) budget=$(value "$@"); shift 2 ;;
    --only) only=$(value "$@"); shift 2 ;;
    --device) device=$(value "$@"); shift 2 ;;
    --shape) shape=$(value "$@"); shift 2 ;;
    --work) work=$(value "$@"); shift 2 ;;
    --results) results=$(value "$@"); shift 2 ;;
    --peak) peak_tflops=$(value "$@"); shift 2 ;;
    *) die "no flag '$1'; --help lists them" ;;
  esac
done
[[ $budget =~ ^[1-9][0-9]*$ ]] || die "--budget takes whole seconds, not '$budget'"
case $shape in real | tiny) ;; *) die "--shape is real or tiny" ;; esac
case $action in
  pack) pack "$folder" ;;
  run) run ;;
  part) "part_$folder" ;;
  list) printf '%s\n' "$parts" ;;
  *) sed -n '3,/^set /{/^set /d; s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" ;;
esac
