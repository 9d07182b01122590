#!/bin/bash
# The tap's records into the target, as a shell does it: singer.sh PYTHON URL IDS_CSV FOLDER
set -o pipefail
here=$(dirname "$0")
"$1" "$here/singer_tap.py" "$2" "$3" 2>"$4/tap.log" | "$1" "$here/singer_target.py" "$4" >"$4/target.log" 2>&1 ||
  { tail -n 3 "$4/target.log" "$4/tap.log"; exit 1; }
