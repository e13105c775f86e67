# SPDX-License-Identifier: GPL-2.0
# Shared by the bench's scripts; sourced after scripts/lib.sh.
# shellcheck shell=bash

BENCH=$TOP/bench
BENCH_OUT=$BUILD/bench

build_dirty_cost() {
	local ring=$TOP/tools/kvm/dirty_ring vmm=$TOP/tools/kvm/vmm
	mkdir -p "$BENCH_OUT"
	gcc -static -O2 -Wall -Wextra -pthread -I"$ring" -I"$vmm" \
		-o "$BENCH_OUT/dirty_cost" \
		"$BENCH"/{dirty_cost,trackers,pages,guest}.c \
		"$ring/ring_reader.c" \
		"$vmm"/{error,exits,long_mode,vcpu,vm}.c
}

rows() { sed '/^#/d;/^[[:space:]]*$/d' "$1"; }
