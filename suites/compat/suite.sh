# SPDX-License-Identifier: GPL-2.0
# A vCPU that was saved on the unpatched base is loaded on our kernel, and the
# other way round. Sourced by lab/run.sh.
# shellcheck shell=bash disable=SC2034

set=${set:-all}

prepare() {
	[ -f "$BUILD/base/bzImage" ] ||
		die "no kernel at build/base/bzImage: 'make base-kernel'"
}
