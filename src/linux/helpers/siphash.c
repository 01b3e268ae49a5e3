// SPDX-License-Identifier: GPL-2.0

#include <linux/siphash.h>

u64 rust_helper_siphash(const void *data, size_t len, u64 key0, u64 key1)
{
	siphash_key_t key = { { key0, key1 } };

	return siphash(data, len, &key);
}
