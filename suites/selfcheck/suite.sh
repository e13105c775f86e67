# SPDX-License-Identifier: GPL-2.0
# Tests that do to the lab what a test can do; check.sh compares the verdicts.
# Sourced by lab/run.sh.
# shellcheck shell=bash disable=SC2034,SC2154

set=${set:-all} bin=${bin:-$SUITE/bin}
BOOT_LIMIT=${LAB_BOOT_LIMIT:-10}

# A job that ends without a verdict.
turn() { [ "$name" != vanishes ] || exit 1; }
