# SPDX-License-Identifier: GPL-2.0
# Debian's libvirt migrates a domain with a dirty ring on the booted host.
# Sourced by lab/run.sh. The programs are too large for the VT-x machines.
# shellcheck shell=bash disable=SC2034

keys_of_all=on=svm,kvm
set=${set:-all} bin=${bin:-$BUILD/libvirt}

prepare() { "$SUITE/pack.sh"; }
