#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A console on a host booted on virtual hardware, with the test programs in its
# /lab. Options as in boot.sh. `exit` powers the machine off; so does Ctrl-A X
# on QEMU, and `kill` of Bochs.
#
#   lab/shell.sh --hw HW --kernel FILE --bin DIR

exec "$(dirname "$0")/boot.sh" -i "$@"
