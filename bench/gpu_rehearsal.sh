#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The kit for a GPU (gpu.sh) on this processor: bench/gpu_rehearsal.sh BUILD TORCH [PART,PART…]
#
# Every part, or those named, passes with a tiny model; and with a check program that hangs, fails and half finishes, the clock ends what hangs, what fails
# is told, and the rest goes on. BUILD is a build folder, TORCH the LibTorch that it was made with.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
build=$1 torch=$2 only=${3:-}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { printf 'gpu_rehearsal.sh: %s\n' "$*" >&2; exit 1; }
# status PART RESULTS
status() { awk -F'\t' -v part="$1" '$1 == part { print $2 }' "$2/parts.tsv"; }

"$root/bench/gpu.sh" --pack "$folder/kit" --build "$build" --torch "$torch"
kit=$folder/kit
if "$root/bench/gpu.sh" --pack "$kit" --build "$build" 2>/dev/null; then fail "an old folder is written over"; fi

echo '--- every part on the processor'
"$kit/gpu.sh" --run --device cpu --shape tiny --torch "$torch" --work "$folder" --budget 4800 ${only:+--only "$only"} || { tail -n 3 "$kit"/results/*.err >&2; fail "a part failed"; }
for file in gpu.json gpu.html; do [[ -s $kit/results/$file ]] || fail "$file is missing"; done

echo '--- a part that hangs, one that fails, one that leaves half a line'
cat >"$kit/bin/kedge_gpu_check" <<'FAKE'
#!/usr/bin/env bash
case ${*: -1} in
  rates) echo '{"what": "first"}'; sleep 600 & echo $! >"$(dirname "$0")/child"; wait ;;
  confident) echo '{"holds": false}'; echo 'the reason is told' >&2; exit 1 ;;
  first_loss) printf '{"holds": true}\n{"hol' ;;
esac
FAKE
code=0
"$kit/gpu.sh" --run --device cpu --shape tiny --torch "$torch" --results "$folder/fake" --work "$folder" --budget 160 --only rates,confident,first_loss,trl || code=$?
[[ $code -eq 1 ]] || fail "exit code $code where a part failed"
for expected in 'rates ended' 'confident failed' 'first_loss ok' 'trl skipped'; do
  [[ $(status "${expected% *}" "$folder/fake") == "${expected#* }" ]] || fail "expected: $expected; there is: $(status "${expected% *}" "$folder/fake")"
done
grep -q 'the reason is told' "$folder/fake/gpu.json" || fail "gpu.json does not say why a part failed"
grep -q '"what": "first"' "$folder/fake/gpu.json" || fail "gpu.json lost what a part had before it was ended"
# Gone, or dead and not yet taken note of by its parent.
gone() { [[ ! -e /proc/$1/stat || $(cut -d' ' -f3 "/proc/$1/stat" 2>/dev/null) =~ ^[ZX]?$ ]]; }
for _ in {1..100}; do if gone "$(cat "$kit/bin/child")"; then break; fi; sleep 0.1; done
gone "$(cat "$kit/bin/child")" || fail "what a part started outlives it"
[[ -z $(find "$folder" -maxdepth 1 -name 'kedge-gpu.*') ]] || fail "models were left behind"

echo '--- a LibTorch of another version'
mkdir -p "$folder/other/lib"
echo "__version__ = '2.4.1'" >"$folder/other/version.py"
if "$kit/gpu.sh" --run --device cpu --torch "$folder/other" 2>"$folder/said"; then fail "another LibTorch was taken"; fi
cat "$folder/said"
grep -q "is LibTorch '2.4', and the programs were built with" "$folder/said" || fail "that is not what should be said of another LibTorch"
echo '--- all as it should be'
