#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Build what measures on the booted host: build/bench/dirty_cost.
#
#   suites/bench/build.sh

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"

bench=$TOP/bench
reader=$TOP/tools/kvm/dirty_ring
vmm=$TOP/tools/kvm/vmm

build() {
	gcc -static -O2 -Wall -Wextra -pthread -I"$reader" -I"$vmm" \
		-idirafter "$TOP/include/uapi" \
		-o "$BUILD/bench/dirty_cost" \
		"$bench"/{dirty_cost,trackers,pages,guest}.c \
		"$reader/ring_reader.c" \
		"$vmm"/{error,exits,long_mode,vcpu,vm}.c
}

[ $# -eq 0 ] || die "usage: ${0##*/}"
mkdir -p "$BUILD/bench"
step "build dirty_cost" build
