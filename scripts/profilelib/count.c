// SPDX-License-Identifier: GPL-2.0
/*
 * Counts the instructions that a guest executes, by address and by virtual processor: a plugin for
 * QEMU's TCG.
 *
 *   -plugin FILE,out=PREFIX,mark=ADDRESS      (ADDRESS in hexadecimal, a guest's virtual address)
 *
 * Each time the guest executes the instruction at ADDRESS, the counts since the last time go to
 * PREFIX.0, PREFIX.1 and so on, as lines of "PROCESSOR ADDRESS INSTRUCTIONS", and begin at zero again.
 * An address is the first of a translation block: a run of instructions without a jump in between.
 *
 * Debian has no package with QEMU's header for plugins. The declarations below are all that is needed
 * of it; they are the same in every version of the interface from 1 (QEMU 7.2) on. PLUGIN_VERSION is
 * the version that this QEMU accepts, see plugin.py.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
typedef void (*on_translation)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*on_execution)(unsigned int, void *);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, on_translation);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, on_execution,
					  enum qemu_plugin_cb_flags, void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, on_execution,
					    enum qemu_plugin_cb_flags, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);

EXPORT int qemu_plugin_version = PLUGIN_VERSION;

#define PROCESSORS 4
#define SLOT_BITS 21
#define SLOTS (1u << SLOT_BITS)

/* The counts of one address; a hash table with open addressing, of which nothing is ever removed. */
struct slot {
	uint64_t address;
	uint64_t executed[PROCESSORS];
};

/* A translation block: QEMU may translate one address several times, to different lengths. */
struct block {
	struct slot *slot;
	uint64_t instructions;
};

static struct slot *slots;
static unsigned int used;
static uint64_t mark;
static const char *prefix;
static unsigned int dumps;

static void give_up(const char *what)
{
	fprintf(stderr, "counting plugin: %s\n", what);
	abort();
}

static struct slot *slot_of(uint64_t address)
{
	uint32_t i = (address * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - SLOT_BITS);

	while (slots[i].address && slots[i].address != address)
		i = (i + 1) % SLOTS;
	if (!slots[i].address) {
		if (++used > SLOTS / 4 * 3)
			give_up("too many addresses");
		slots[i].address = address;
	}
	return &slots[i];
}

static void dump(unsigned int processor, void *unused)
{
	char name[4096];
	FILE *file;

	(void)processor;
	(void)unused;
	snprintf(name, sizeof(name), "%s.%u", prefix, dumps++);
	file = fopen(name, "w");
	if (!file)
		give_up("a file of counts cannot be written");
	for (uint32_t i = 0; i < SLOTS; i++) {
		if (!slots[i].address)
			continue;
		for (int p = 0; p < PROCESSORS; p++) {
			if (!slots[i].executed[p])
				continue;
			fprintf(file, "%d %" PRIx64 " %" PRIu64 "\n", p, slots[i].address, slots[i].executed[p]);
			slots[i].executed[p] = 0;
		}
	}
	if (fclose(file))
		give_up("a file of counts cannot be written");
}

static void executed(unsigned int processor, void *data)
{
	const struct block *block = data;

	if (processor >= PROCESSORS)
		give_up("too many processors");
	block->slot->executed[processor] += block->instructions;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t instructions = qemu_plugin_tb_n_insns(tb);
	/* Never freed: QEMU does not say when a translation is thrown away. */
	struct block *block = malloc(sizeof(*block));

	(void)id;
	if (!block)
		give_up("out of memory");
	block->slot = slot_of(qemu_plugin_tb_vaddr(tb));
	block->instructions = instructions;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, QEMU_PLUGIN_CB_NO_REGS, block);
	for (size_t i = 0; i < instructions; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		if (qemu_plugin_insn_vaddr(insn) == mark)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, dump, QEMU_PLUGIN_CB_NO_REGS, NULL);
	}
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			prefix = strdup(argv[i] + 4);
		else if (!strncmp(argv[i], "mark=", 5))
			mark = strtoull(argv[i] + 5, NULL, 16);
	}
	slots = calloc(SLOTS, sizeof(*slots));
	if (!prefix || !mark || !slots) {
		fprintf(stderr, "counting plugin: out=PREFIX and mark=ADDRESS are needed\n");
		return 1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
