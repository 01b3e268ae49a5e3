# SPDX-License-Identifier: GPL-2.0
# Entry points only. The work is done in scripts/.

KERNEL ?= release
SEEDS ?= 2000
KINDS = $(if $(filter both,$(KERNEL)),release debug,$(KERNEL))

# One line for each kind, and not a shell loop: a signal that ends make then reaches the script.
define line


endef

# The targets follow each other, also with -j: what a step needs, the one before it has made.
.NOTPARALLEL:

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
	@echo
	@echo '  KERNEL=debug      the kernel with KASAN, lockdep and kmemleak, for kernel and modules'
	@echo '  KERNEL=cfi, rt    kernels that check indirect calls, and that can be preempted almost everywhere'
	@echo '  KDIR=DIR          a built Linux 7.3 tree of your own, instead of the one built here'
	@echo '  ANEMONE_CACHE=DIR where kernels are kept (default ~/.cache/anemone)'

.PHONY: demo
demo: setup kernel modules server programs ## Sort more than fits in memory, over two memory servers
	scripts/demo

.PHONY: test
test: setup kernel modules kunit server programs ## Run all tests (TEST=options of scripts/test)
	scripts/test $(TEST)

.PHONY: test-vng
test-vng: modules server programs ## Run the kernel tests under virtme-ng
	scripts/test-vng

.PHONY: check
check: setup ## Check format, lints, documents and scripts
	scripts/check

.PHONY: bench
bench: setup kernel modules server ## Measure against the budgets, in counted instructions
	scripts/bench

.PHONY: profile
profile: setup kernel modules server ## Count instructions by function and layer (PROFILE=options of scripts/profile)
	scripts/profile $(PROFILE)

.PHONY: sim
sim: ## Run the simulator over SEEDS seeds
	scripts/sim --seeds $(SEEDS)

.PHONY: fuzz
fuzz: setup ## Run the fuzz targets (FUZZ=options of scripts/fuzz)
	scripts/fuzz $(FUZZ)

.PHONY: soak
soak: KINDS := release cfi rt debug
soak: setup kernel modules kunit server programs ## Disturb the module at random for long (SOAK=--minutes 60 …)
	scripts/soak --kinds $(SOAK)

.PHONY: modules
modules: ## Build the kernel module (KDIR=, KERNEL=)
	$(foreach kind,$(KINDS),scripts/modules $(kind)$(line)	)

.PHONY: kunit
kunit: ## Build the unit tests as a kernel module
	scripts/kunit

.PHONY: server
server: ## Build the memory server and anemonectl, static programs
	scripts/server

.PHONY: programs
programs: ## Build the programs that VMs run for tests and the demo
	scripts/programs

.PHONY: kernel
kernel: setup ## Build the kernels to test on, once
	$(foreach kind,$(KINDS),scripts/kernel build $(kind)$(line)	)

.PHONY: setup
setup: ## Install what is missing to build and test
	scripts/setup

.PHONY: clean
clean: ## Remove what was built in this checkout; kernels are kept
	rm -rf build target
