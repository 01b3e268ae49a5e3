// SPDX-License-Identifier: GPL-2.0

#include <keys/user-type.h>
#include <linux/err.h>
#include <linux/key.h>
#include <linux/rwsem.h>
#include <linux/string.h>

#if !IS_ENABLED(CONFIG_KEYS)
#error "the kernel must have CONFIG_KEYS"
#endif

/*
 * Copies the @len bytes of a key to @secret. -EINVAL if it has fewer or more. The payload is replaced and freed by
 * writers of the semaphore only; revoking the key takes it away.
 */
int rust_helper_logon_key(const char *description, u8 *secret, size_t len)
{
	const struct user_key_payload *payload;
	struct key *key;
	int err = 0;

	key = request_key(&key_type_logon, description, NULL);
	if (IS_ERR(key))
		return PTR_ERR(key);
	down_read(&key->sem);
	payload = user_key_payload_locked(key);
	if (!payload)
		err = -EKEYREVOKED;
	else if (payload->datalen != len)
		err = -EINVAL;
	else
		memcpy(secret, payload->data, len);
	up_read(&key->sem);
	key_put(key);
	return err;
}
