# SPDX-License-Identifier: GPL-2.0
# Shared by the bench's scripts; sourced after scripts/lib.sh.
# shellcheck shell=bash

BENCH=$TOP/bench
READER=$TOP/tools/kvm/dirty_ring
BENCH_OUT=$BUILD/bench

build_dirty_cost() {
	mkdir -p "$BENCH_OUT"
	gcc -static -O2 -Wall -I"$READER" -o "$BENCH_OUT/dirty_cost" \
		"$BENCH"/{dirty_cost,trackers,pages,vm}.c "$READER"/{long_mode,ring_reader}.c
}

rows() { sed '/^#/d;/^[[:space:]]*$/d' "$1"; }
