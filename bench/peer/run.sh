#!/bin/bash
# run.sh BROKER TOPIC OUT_TOPIC: sevwatch as a peer in the comparison's harness; PEERS is the folder that has lib/measure.py.
# Exactly once up to the panes topic; the lines that this adapter makes of it are written once a run.
out=$(mktemp -d) && trap 'rm -rf "$out"' EXIT
(cd "$(dirname "$0")/../.." && go build -o "$out/sevwatch" ./cmd/sevwatch && go build -o "$out/peer" ./bench/peer) || exit 1
"${PEERS:?folder of the comparison}/lib/py" "$PEERS/lib/measure.py" --peer sevwatch --broker "$1" --topic "$2" --out "$3" -- \
  "$out/peer" "$out/sevwatch" "$1" "$2" "$3"
