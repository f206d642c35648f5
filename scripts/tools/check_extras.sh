#!/usr/bin/env bash
# Each extra by itself, without `dev`, in a new environment: does its command work on a trained run?
#
#     bash scripts/tools/check_extras.sh RUN      # 5 to 10 minutes, a few GB below $TMPDIR
set -euo pipefail
run=$(realpath "$1")
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

# A new environment with the extras demo and $1.
install() {
  "${PYTHON:-python3}" -m venv "$work/$1"
  "$work/$1/bin/pip" install --quiet --quiet -e ".[demo,$1]"
}

install report
"$work/report/bin/avemo" report "$run"

install onnx
"$work/onnx/bin/avemo" export "$run" --format onnx --out "$work/run.onnx"

install web
"$work/web/bin/avemo" serve --run "$run" --port 0 2>"$work/served" &
until address=$(grep -om1 "http://[^ ]*" "$work/served" 2>/dev/null); do
  kill -0 $! || { cat "$work/served"; exit 1; }
  sleep 1
done
"$work/web/bin/python" - "$address" <<'PYTHON'
import sys, urllib.request
page = urllib.request.urlopen(sys.argv[1], timeout=60).read().decode()
assert "<html" in page, page
print(f"{sys.argv[1]} serves a page of {len(page)} characters")
PYTHON
