#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a run leaves, read by others: its events by TensorBoard, its model card by huggingface_hub, its page by an HTML parser.
#
# What can be set: bench/python_side.sh
set -euo pipefail
# shellcheck source=../../bench/python_side.sh
source "$(dirname "$(readlink -f "$0")")/../../bench/python_side.sh"
need_python TensorBoard report "$root/tests/peers/report.txt"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
tiny=$root/tests/golden/tiny
cp -r "$tiny/tied" "$folder/base"
printf -- '---\nlicense: apache-2.0\n---\n# Tiny\n' >"$folder/base/README.md"
# Stopped by its own limit of steps and gone on with, so that there are two files of events.
run=("$KEDGE_PROGRAM" apo --model_name_or_path "$folder/base" --dataset "$tiny/pairs.jsonl" --chunks 2 --eval_dataset "$tiny/pairs.jsonl" --learning_rate 1e-3
  --per_device_train_batch_size 4 --num_train_epochs 2 --logging_steps 1 --save_steps 2 --threads 1 --quiet)
"${run[@]}" --output_dir "$folder/apo" >/dev/null
"${run[@]}" --output_dir "$folder/apo" --resume_from_checkpoint "$folder/apo/checkpoints/step-2" >/dev/null
"$KEDGE_PROGRAM" dpo --model_name_or_path "$folder/base" --dataset "$tiny/pairs.jsonl" --use_peft --max_steps 2 --logging_steps 1 --threads 1 --quiet --report_to none --output_dir "$folder/lora" >/dev/null
"$KEDGE_PROGRAM" report "$folder/apo" "$folder/lora" --output "$folder/compare.html" >/dev/null
exec "$KEDGE_PYTHON" -W ignore "$root/tests/peers/check_report.py" "$folder"
