// SPDX-License-Identifier: GPL-2.0-only
/*
 * What KVM tells of itself: statistics, module parameters and trace events.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#ifdef __x86_64__
#include "processor.h"
#endif
#include "kvm_trace.h"

/**
 * vm_get_stat() - read a statistic of a VM from debugfs
 * @vm: the VM, created by the main thread
 * @name: the statistic
 *
 * Return: its value, or -1 if there is no such file.
 */
long vm_get_stat(struct kvm_vm *vm, const char *name)
{
	char path[128];
	long value;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%u-%u/%s", getpid(),
		 vm_get_fd(vm), name);
	f = fopen(path, "r");
	if (!f)
		return -1;
	if (fscanf(f, "%ld", &value) != 1)
		value = -1;
	fclose(f);
	return value;
}

/**
 * module_flag() - read a module parameter that is on or off
 * @module: the module, loaded or built in
 * @name: the parameter
 *
 * Return: true if it is on; false if it is off, or if there is no such file.
 */
bool module_flag(const char *module, const char *name)
{
	char path[128];
	int value = 'N';
	FILE *f;

	snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s", module,
		 name);
	f = fopen(path, "r");
	if (f) {
		value = fgetc(f);
		fclose(f);
	}
	return value == 'Y' || value == '1';
}

#ifdef __x86_64__
/**
 * have_tdp() - whether KVM uses EPT or NPT
 */
bool have_tdp(void)
{
	return is_intel_cpu() ? module_flag("kvm_intel", "ept") :
				module_flag("kvm_amd", "npt");
}
#endif

/**
 * write_text() - write to a file that the kernel makes
 * @path: the file
 * @text: what to write, at once
 *
 * Return: whether that could be done.
 */
bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	ssize_t len = strlen(text);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, len) == len;
	close(fd);
	return ok;
}

static const char *tracefs(void)
{
	static const char * const dirs[] = {
		"/sys/kernel/tracing", "/sys/kernel/debug/tracing",
	};
	char path[64];
	int i;

	for (i = 0; i < ARRAY_SIZE(dirs); i++) {
		snprintf(path, sizeof(path), "%s/trace", dirs[i]);
		if (!access(path, W_OK))
			return dirs[i];
	}
	return dirs[0];
}

static bool write_event(const char *event, const char *file, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/events/%s%s/%s", tracefs(),
		 strchr(event, '/') ? "" : "kvm/", event, file);
	return write_text(path, text);
}

/**
 * trace_event_enable() - trace an event of KVM
 * @event: its name in the system kvm, or SYSTEM/NAME
 * @filter: which of them, in the language of tracefs, or NULL for all
 *
 * Return: whether that could be done.
 */
bool trace_event_enable(const char *event, const char *filter)
{
	return write_event(event, "filter", filter ? filter : "0") &&
	       write_event(event, "enable", "1");
}

/**
 * trace_event_disable() - undo trace_event_enable()
 * @event: its name; it may be missing
 */
void trace_event_disable(const char *event)
{
	write_event(event, "enable", "0");
	write_event(event, "filter", "0");
}

/**
 * trace_clear() - forget what was traced so far
 *
 * Return: whether that could be done.
 */
bool trace_clear(void)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/trace", tracefs());
	return write_text(path, "\n");
}

/**
 * trace_read() - read what was traced
 * @fn: called for each line that is no comment
 * @data: passed to @fn
 */
void trace_read(void (*fn)(const char *line, void *data), void *data)
{
	char path[64], line[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/trace", tracefs());
	f = fopen(path, "r");
	TEST_ASSERT(f, "no trace, errno: %i", errno);
	while (fgets(line, sizeof(line), f))
		if (line[0] != '#')
			fn(line, data);
	fclose(f);
}
