/* SPDX-License-Identifier: GPL-2.0-only */
/* What the library's files share, and its users do not see. */
#ifndef TOOLS_KVM_VMM_INTERNAL_H
#define TOOLS_KVM_VMM_INTERNAL_H

#include "vmm.h"

/*
 * Set @text, which is vm::error or vcpu::error, to @fmt and the text of
 * @error, a negative errno. Return: @error.
 */
int error_text(char *text, int error, const char *fmt, ...)
	__attribute__((cold, format(printf, 3, 4)));

#endif /* TOOLS_KVM_VMM_INTERNAL_H */
