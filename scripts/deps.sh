#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Install the Debian packages that are missing; say nothing when none is. Without
# the right to do so, print the command that would, and fail.
#
#   scripts/deps.sh

. "$(dirname "$0")/lib.sh"

packages=(
	# the kernel and its tests
	git make gcc clang libc6-dev bc flex bison libelf-dev libssl-dev perl rsync
	cpio xz-utils zstd ccache
	# the emulators
	g++ bochsbios vgabios busybox-static
	# the QEMU that migrates, and its plots
	meson ninja-build pkg-config libglib2.0-dev libpixman-1-dev libfdt-dev
	zlib1g-dev gnuplot-nox
	# the checks
	sparse shellcheck python3-sphinx fontconfig spin relacy-dev
)

missing() {
	local p
	for p in "${packages[@]}"; do
		grep -qx "$p installed" <<<"$present" || echo "$p"
	done
}

install() {
	"$@" apt-get update
	"$@" apt-get install -y --no-install-recommends "${wanted[@]}"
}

[ -e /etc/debian_version ] && [ -n "$(command -v dpkg-query)" ] ||
	die "this needs Debian 12"
present=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' \
	"${packages[@]}" 2>/dev/null) || true
mapfile -t wanted < <(missing)
[ ${#wanted[@]} -gt 0 ] || exit 0

export DEBIAN_FRONTEND=noninteractive
if [ "$(id -u)" -eq 0 ]; then
	step "install ${#wanted[@]} packages" install env
elif sudo -n true 2>/dev/null; then
	step "install ${#wanted[@]} packages" install \
		sudo -n DEBIAN_FRONTEND=noninteractive
else
	say "packages are missing, and cannot be installed without root; run:"
	echo "apt-get install --no-install-recommends ${wanted[*]}"
	exit 1
fi
