#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The tables of flags in docs/command-line.md, docs/coming-from-trl.md and docs/hub.md are what the program says of itself.
#   docs/flag_tables.sh PROGRAM           compares them, and says what differs
#   docs/flag_tables.sh PROGRAM --write   writes them anew
# A table stands between `<!-- flags: SUBCOMMAND; GROUP; GROUP -->` (no group: all) and `<!-- end of flags -->`; what becomes of TRL's flags, between
# `<!-- trl: GROUP -->` and the same end.
set -euo pipefail
program=$1
folder=$(dirname "$(readlink -f "$0")")
new=$(mktemp)
trap 'rm -f "$new"' EXIT

# table "SUBCOMMAND --help=KIND" GROUPS: the groups' tables, each under its name.
table() {
  "$program" $1 | awk -v wanted="$2" '
    BEGIN { all = wanted == ""; n = split(wanted, names, /; */); for (i = 1; i <= n; ++i) want[names[i]] = 1 }
    /^\*\*.*\*\*$/ { name = substr($0, 3, length($0) - 4); shown = all || name in want; if (shown) found[name] = 1 }
    shown { print }
    END { for (i = 1; i <= n; ++i) if (names[i] != "" && !(names[i] in found)) { print "no group " names[i] > "/dev/stderr"; exit 1 } }'
}

# renewed PAGE: the page with the tables of today.
renewed() {
  local line inside=
  while IFS= read -r line; do
    if [[ $line =~ ^'<!-- flags: '([^\;]*)(\;\ ?(.*))?' -->'$ ]]; then
      printf '%s\n\n' "$line"
      table "${BASH_REMATCH[1]} --help=markdown" "${BASH_REMATCH[3]}"
      inside=yes
    elif [[ $line =~ ^'<!-- trl: '(.*)' -->'$ ]]; then
      printf '%s\n\n' "$line"
      table "dpo --help=trl" "${BASH_REMATCH[1]}"
      inside=yes
    elif [[ $line == '<!-- end of flags -->' ]]; then
      printf '%s\n' "$line"
      inside=
    elif [[ -z $inside ]]; then
      printf '%s\n' "$line"
    fi
  done <"$1"
}

for page in command-line.md coming-from-trl.md hub.md; do
  renewed "$folder/$page" >"$new"
  if [[ ${2:-} == --write ]]; then
    cp "$new" "$folder/$page"
  else
    diff -u "$folder/$page" "$new" || { echo "docs/$page is behind the program; run ./dev docs" >&2; exit 1; }
  fi
done
