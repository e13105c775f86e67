# SPDX-License-Identifier: GPL-2.0
# The front door: each job is a target, `make help` lists them.

# What to run on: vtx, svm, kvm, or several; empty is the best there is.
HW ?=
# Only these tests; empty is the whole set.
TEST ?=
# smoke or full.
MATRIX ?= smoke
# The host kernel: host, or with configs/$(CONFIG).config on top: debug, kcsan.
CONFIG ?= host
# Another base: a version of Debian's package, a checkout, a folder or a tarball.
LINUX ?=
# Only this part of the series.
PART ?=
export PART HW TEST MATRIX CONFIG LINUX WHOLE

# Only these mutants; empty is all of verification/mutants/.
MUTANT ?=

# How often `make migrate` migrates one guest, back and forth.
N ?= 10

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run check shell races migrate migrate-libvirt plots \
	bench deps setup tree kernel \
	base-kernel selftests refresh series bisect model mutants lint docs clean

# What a run leaves for `make report`, and what was asked for.
RECORD = scripts/record.sh
export MADE_BY := $(strip make $(MAKECMDGOALS) $(foreach v,HW MATRIX CONFIG N \
	LINUX,$(if $(filter file,$(origin $v)),,$(if $($v),$v=$($v)))))
CHECK = check-$(MATRIX)$(if $(filter-out host,$(CONFIG)),-$(CONFIG))
CHECK_ON = $(if $(LINUX),-on-$(notdir $(LINUX)))

HARDWARE = $(or $(HW),$(shell lab/setup.sh detect))
ON_HARDWARE = --hw "$(HARDWARE)" --kernel build/$(CONFIG)/bzImage

help:
	@awk -f scripts/help.awk $(MAKEFILE_LIST)

## The main job: build the host kernel, boot it, run the dirty ring tests
run: built
	@$(RECORD) run lab/run.sh $(ON_HARDWARE) --set run --tests "$(TEST)"

## All checks: lint, round trip, the lab's own, the smoke matrix
check: deps
	@$(RECORD) $(CHECK)$(CHECK_ON) scripts/check.sh

## A console on the booted host
shell: built
	@lab/boot.sh --console $(ON_HARDWARE)

## Data races in KVM: KCSAN, the ring tests, two CPUs of SVM
races:
	@$(MAKE) --no-print-directory CONFIG=kcsan HW="$(or $(HW),svm)" built
	@$(RECORD) races lab/run.sh --hw "$(or $(HW),svm)" \
		--kernel build/kcsan/bzImage \
		--set races --tests "$(TEST)"

## Stock QEMU migrates guests on the booted host, with rings and bitmaps
migrate: built
	@N="$(N)" $(RECORD) --keep out/migrate.csv migrate \
		lab/run.sh migration $(ON_HARDWARE) --tests "$(TEST)"

## libvirt migrates a domain with a dirty ring (SVM)
migrate-libvirt: built
	@$(RECORD) migrate-libvirt lab/run.sh libvirt $(ON_HARDWARE) \
		--hw "$(or $(filter-out vtx,$(HARDWARE)),svm)"

## out/migrate-svm.svg from the figures of `make migrate`
plots: deps
	@suites/migration/plot.sh

## vCPUs saved on the unpatched base are loaded on ours, and back
.PHONY: compat
compat: built base-kernel
	@$(RECORD) compat lab/run.sh compat --tests "$(TEST)"

## Instructions per dirtied page, ours and the unpatched base
bench: built base-kernel
	@$(RECORD) --keep out/bench.csv bench lab/run.sh bench $(ON_HARDWARE)

# What all machines need. The emulators build while the kernel does.
.PHONY: built
built: deps
	@$(MAKE) --no-print-directory -j2 setup kernel-and-selftests

.PHONY: kernel-and-selftests
kernel-and-selftests: kernel
	@scripts/selftests.sh

setup: deps
	@set -e; for hw in $(HARDWARE); do lab/setup.sh $$hw; done

## Install the Debian packages that are needed
deps:
	@scripts/deps.sh

## Break the feature on purpose: which mutants do the tests kill? (MUTANT="names")
mutants: built
	@$(RECORD) mutants lab/run.sh mutants $(ON_HARDWARE) --hw "$(HW)" --tests "$(MUTANT)"

## Search the model of the rings' protocol, and the ordering of its accesses
model: deps
	@verification/model.sh

## The patched kernel tree: build/linux, one commit a step
tree: deps
	@scripts/tree.sh

.PHONY: tree-as-is
tree-as-is: deps
	@scripts/tree.sh --keep

## The host kernel: build/host/bzImage
kernel: tree-as-is
	@scripts/kernel.sh

## The unpatched base with the same configuration: build/base/bzImage
base-kernel: tree-as-is
	@scripts/kernel.sh base

## The static test programs: build/selftests/
selftests: tree-as-is
	@scripts/selftests.sh

## Take commits of build/linux home to patches/ and to the new files
refresh: deps
	@scripts/refresh.sh

## The mail-ready series: out/v5.10/, or one part of it (PART=NAME)
series: tree
	@scripts/series.sh

## Does each part build, with the parts that it needs?
parts: deps
	@scripts/bisect.sh --parts

## Does each step build?
bisect: tree
	@scripts/bisect.sh

## checkpatch, sparse, W=1, shellcheck
lint: tree
	@scripts/lint.sh

## What the last runs have left, as docs/results.md; runs nothing
report:
	@scripts/report.sh
.PHONY: report

## The kernel's documents of KVM as HTML: build/docs/
docs: tree
	@scripts/docs.sh

## Remove build/ and out/; the cache stays
clean:
	rm -rf build out
