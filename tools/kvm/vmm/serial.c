// SPDX-License-Identifier: GPL-2.0-only
/*
 * A serial port that only sends.
 */
#include <errno.h>

#include "vmm.h"

/* Registers, by offset. Some offsets have one for reads, another for writes. */
#define THR	0		/* write: the byte to send */
#define IIR	2		/* read: the pending interrupt */
#define LCR	3
#define LSR	5
#define MSR	6

#define IIR_NONE	0x01
#define LCR_DLAB	0x80	/* registers 0 and 1 hold the baud rate */
#define LSR_READY	0x60	/* everything is sent */
#define MSR_READY	0xb0	/* the other end is there */

static uint8_t read_register(const struct serial *serial, uint64_t reg)
{
	switch (reg) {
	case IIR:
		return IIR_NONE;
	case LSR:
		return LSR_READY;
	case MSR:
		return MSR_READY;
	default:
		return serial->regs[reg];
	}
}

int serial_access(struct vcpu *vcpu, const struct vm_access *access,
		  void *opaque)
{
	struct serial *serial = opaque;
	uint64_t reg = access->offset;

	if (access->len != 1 || reg >= sizeof(serial->regs))
		return vcpu_error(vcpu, -EINVAL,
				  "serial port: %u bytes at register %#llx",
				  access->len, (unsigned long long)reg);
	if (!access->write) {
		*access->data = read_register(serial, reg);
		return 0;
	}
	if (reg == THR && !(serial->regs[LCR] & LCR_DLAB) &&
	    fputc(*access->data, serial->out) == EOF)
		return vcpu_error(vcpu, -EIO, "serial port");
	serial->regs[reg] = *access->data;
	return 0;
}
