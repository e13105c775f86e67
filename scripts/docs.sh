#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Build the kernel's KVM documents as HTML into build/docs/. A warning about a line
# of ours is an error.
#
#   scripts/docs.sh

. "$(dirname "$0")/lib.sh"
plain_git

tree=$BUILD/linux
out=$tree/build-docs

# Sphinx tells of a document's warnings only when it reads it, so all is new.
build() {
	rm -rf "$out" "$BUILD/docs"
	make -C "$tree" O=build-docs PYTHON=python3 \
		SPHINXDIRS=virt/kvm htmldocs 2>&1 |
		tee "$BUILD/docs.log"
	cp -r "$out/Documentation/output/virt/kvm" "$BUILD/docs"
	rm -rf "$out"
	git -C "$tree" rev-parse HEAD:Documentation >"$BUILD/docs/.made-from"
}

[ $# -eq 0 ] || die "usage: ${0##*/}"
[ -d "$tree" ] || die "no build/linux: 'make tree' first"
cmp -s "$BUILD/docs/.made-from" <(git -C "$tree" rev-parse HEAD:Documentation) ||
	step "build documents" build
ours=$(git -C "$tree" diff -U0 --no-renames base HEAD -- Documentation |
	awk -f "$TOP/scripts/filter-warnings.awk" - "$BUILD/docs.log")
[ -z "$ours" ] || { echo "$ours" >&2; die "documents: warnings about our lines"; }
say "documents: build/docs/index.html"
