/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What KVM tells of itself: the statistics of a VM, in debugfs, module
 * parameters, and trace events, in tracefs. A test may run where one of them is
 * missing.
 */
#ifndef SELFTEST_KVM_KVM_TRACE_H
#define SELFTEST_KVM_KVM_TRACE_H

#include "kvm_util.h"

long vm_get_stat(struct kvm_vm *vm, const char *name);

bool module_flag(const char *module, const char *name);
#ifdef __x86_64__
bool have_tdp(void);
#endif

bool write_text(const char *path, const char *text);

bool trace_event_enable(const char *event, const char *filter);
void trace_event_disable(const char *event);
bool trace_clear(void);
void trace_read(void (*fn)(const char *line, void *data), void *data);

#endif /* SELFTEST_KVM_KVM_TRACE_H */
