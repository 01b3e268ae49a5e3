// SPDX-License-Identifier: GPL-2.0

#include <asm/archrandom.h>
#include <crypto/blake2s.h>
#include <linux/array_size.h>
#include <linux/bitops.h>
#include <linux/hash.h>
#include <linux/random.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/timex.h>

int rust_helper_register_vmfork_notifier(struct notifier_block *block)
{
	return register_random_vmfork_notifier(block);
}

int rust_helper_unregister_vmfork_notifier(struct notifier_block *block)
{
	return unregister_random_vmfork_notifier(block);
}

u32 rust_helper_cycles(void)
{
	return random_get_entropy();
}

/*
 * What the processor draws, if it can, and when. Hashed, so that the cycle is not undone by that of a later moment,
 * with which callers combine it.
 */
u32 rust_helper_burst_noise(void)
{
	unsigned long drawn = 0;
	u64 when = random_get_entropy() ^ rol64(ktime_get_real_fast_ns(), 32);

	(void)arch_get_random_longs(&drawn, 1);
	return hash_64(drawn ^ when, 32);
}

/*
 * Fills @out with bytes that cannot be guessed, and that no other instance of this machine gets: one that continues
 * from the same image has the generator in the same state, but not the same time, nor what the processor draws.
 */
void rust_helper_fresh_bytes(u8 out[BLAKE2S_HASH_SIZE])
{
	struct {
		u8 random[BLAKE2S_HASH_SIZE];
		unsigned long drawn[4];
		size_t count;
		unsigned long cycles;
		u64 real_ns;
	} in = {};

	get_random_bytes(in.random, sizeof(in.random));
	for (int i = 0; i < ARRAY_SIZE(in.drawn); i++)
		in.count += arch_get_random_seed_longs(&in.drawn[i], 1);
	in.cycles = random_get_entropy();
	in.real_ns = ktime_get_real_ns();
	blake2s(NULL, 0, (const u8 *)&in, sizeof(in), out, BLAKE2S_HASH_SIZE);
	memzero_explicit(&in, sizeof(in));
}
