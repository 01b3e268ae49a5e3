// SPDX-License-Identifier: GPL-2.0

#include <crypto/aead.h>
#include <linux/err.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uio.h>

#if !IS_ENABLED(CONFIG_CRYPTO_AEAD)
#error "the kernel must have CONFIG_CRYPTO_AEAD, which CONFIG_CRYPTO_GCM selects"
#endif

#if !IS_ENABLED(CONFIG_CRYPTO_LIB_SHA256)
#error "the kernel must have CONFIG_CRYPTO_LIB_SHA256, which CONFIG_CRYPTO_SHA256 selects, and CONFIG_NET as well"
#endif

/* As the wrapper spells them. */
#define AEAD_NONCE_LEN 12
#define AEAD_TAG_LEN 16
#define AEAD_MAX_BYTES 64
#define AEAD_MAX_RUNS 8

/*
 * A transform without a key, for nonces of 12 bytes and tags of 16. One that works synchronously, and that
 * allocates no memory if all that it is given is aligned to a word: kmalloc() promises no more. -ENOENT if there
 * is none.
 */
struct crypto_aead *rust_helper_aead_alloc(const char *name)
{
	struct crypto_aead *tfm;
	int err;

	tfm = crypto_alloc_aead(name, 0, CRYPTO_ALG_ASYNC | CRYPTO_ALG_ALLOCATES_MEMORY);
	if (IS_ERR(tfm))
		return tfm;
	err = -ENOENT;
	if (crypto_aead_ivsize(tfm) != AEAD_NONCE_LEN ||
	    crypto_aead_alignmask(tfm) >= __alignof__(unsigned long long))
		goto free;
	err = crypto_aead_setauthsize(tfm, AEAD_TAG_LEN);
	if (err)
		goto free;
	return tfm;
free:
	crypto_free_aead(tfm);
	return ERR_PTR(err);
}

int rust_helper_aead_set_key(struct crypto_aead *tfm, const u8 *key, unsigned int key_len)
{
	return crypto_aead_setkey(tfm, key, key_len);
}

void rust_helper_aead_free(struct crypto_aead *tfm)
{
	crypto_free_aead(tfm);
}

const char *rust_helper_aead_driver_name(struct crypto_aead *tfm)
{
	return crypto_aead_driver_name(tfm);
}

unsigned int rust_helper_aead_reqsize(struct crypto_aead *tfm)
{
	return crypto_aead_reqsize(tfm);
}

/* A request with all that its scatterlists refer to besides blocks: they must not refer to a stack. */
struct aead_scratch {
	/* What is sealed: the runs of a call are the last ones. */
	struct scatterlist from[AEAD_MAX_RUNS];
	/* The last is the tag's. The runs of a call are those before it, so that the end never moves. */
	struct scatterlist runs[AEAD_MAX_RUNS + 1];
	u8 tag[AEAD_TAG_LEN];
	u8 bytes[AEAD_MAX_BYTES];
	u8 nonce[AEAD_NONCE_LEN];
	/* Last: the implementation's part is behind it. */
	struct aead_request req;
};

struct aead_scratch *rust_helper_aead_scratch_alloc(unsigned int reqsize)
{
	/* There are thousands of them: it fails rather than have programs killed. */
	struct aead_scratch *scratch = kzalloc(sizeof(*scratch) + reqsize,
					       GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);

	if (!scratch)
		return NULL;
	sg_init_table(scratch->from, ARRAY_SIZE(scratch->from));
	sg_init_table(scratch->runs, ARRAY_SIZE(scratch->runs));
	sg_set_buf(&scratch->runs[AEAD_MAX_RUNS], scratch->tag, AEAD_TAG_LEN);
	/* No flags: it does not sleep. It never completes later, so nothing is called then. */
	aead_request_set_callback(&scratch->req, 0, NULL, NULL);
	aead_request_set_ad(&scratch->req, 0);
	return scratch;
}

void rust_helper_aead_scratch_free(struct aead_scratch *scratch)
{
	kfree_sensitive(scratch);
}

static struct aead_request *aead_prepare(struct aead_scratch *scratch, struct crypto_aead *tfm,
					 const u8 *nonce, struct scatterlist *from,
					 struct scatterlist *to, unsigned int len)
{
	struct aead_request *req = &scratch->req;

	memcpy(scratch->nonce, nonce, AEAD_NONCE_LEN);
	aead_request_set_tfm(req, tfm);
	aead_request_set_crypt(req, from, to, len, scratch->nonce);
	return req;
}

/* Fills the last @count entries of @table. Returns the first of them, or NULL if they are too many. */
static struct scatterlist *aead_take_runs(struct scatterlist *table, const struct kvec *runs,
					  unsigned int count, unsigned int *len)
{
	struct scatterlist *sg;
	unsigned int i;

	if (!count || count > AEAD_MAX_RUNS)
		return NULL;
	sg = &table[AEAD_MAX_RUNS - count];
	*len = 0;
	for (i = 0; i < count; i++) {
		sg_set_buf(&sg[i], runs[i].iov_base, runs[i].iov_len);
		*len += runs[i].iov_len;
	}
	return sg;
}

/* Seals @count runs of bytes of the linear map, as one text, into the bytes at @to, which are there as well. */
int rust_helper_aead_seal(struct aead_scratch *scratch, struct crypto_aead *tfm, const u8 *nonce,
			  const struct kvec *runs, unsigned int count, void *to, u8 *tag)
{
	struct scatterlist *sg_to = &scratch->runs[AEAD_MAX_RUNS - 1];
	struct scatterlist *sg_from;
	unsigned int len;
	int err;

	sg_from = aead_take_runs(scratch->from, runs, count, &len);
	if (!sg_from)
		return -EINVAL;
	sg_set_buf(sg_to, to, len);
	err = crypto_aead_encrypt(aead_prepare(scratch, tfm, nonce, sg_from, sg_to, len));
	memcpy(tag, scratch->tag, AEAD_TAG_LEN);
	return err;
}

/* Opens @count runs of bytes of the linear map, as one text, in place. -EBADMSG if it is not what was sealed. */
int rust_helper_aead_open(struct aead_scratch *scratch, struct crypto_aead *tfm, const u8 *nonce,
			  const u8 *tag, const struct kvec *runs, unsigned int count)
{
	struct scatterlist *sg;
	unsigned int len;

	sg = aead_take_runs(scratch->runs, runs, count, &len);
	if (!sg)
		return -EINVAL;
	memcpy(scratch->tag, tag, AEAD_TAG_LEN);
	return crypto_aead_decrypt(aead_prepare(scratch, tfm, nonce, sg, sg, len + AEAD_TAG_LEN));
}

/* As above, for a few bytes that may be anywhere. The bytes of one that is not opened stay as they are. */
static struct scatterlist *aead_take_bytes(struct aead_scratch *scratch, const u8 *bytes, unsigned int len)
{
	struct scatterlist *sg = &scratch->runs[AEAD_MAX_RUNS];

	if (!len)
		return sg;
	memcpy(scratch->bytes, bytes, len);
	sg_set_buf(--sg, scratch->bytes, len);
	return sg;
}

int rust_helper_aead_seal_bytes(struct aead_scratch *scratch, struct crypto_aead *tfm, const u8 *nonce,
				u8 *bytes, unsigned int len, u8 *tag)
{
	struct scatterlist *sg;
	int err;

	if (len > AEAD_MAX_BYTES)
		return -EINVAL;
	sg = aead_take_bytes(scratch, bytes, len);
	err = crypto_aead_encrypt(aead_prepare(scratch, tfm, nonce, sg, sg, len));
	if (!err)
		memcpy(bytes, scratch->bytes, len);
	memcpy(tag, scratch->tag, AEAD_TAG_LEN);
	memzero_explicit(scratch->bytes, len);
	return err;
}

int rust_helper_aead_open_bytes(struct aead_scratch *scratch, struct crypto_aead *tfm, const u8 *nonce,
				const u8 *tag, u8 *bytes, unsigned int len)
{
	struct scatterlist *sg;
	int err;

	if (len > AEAD_MAX_BYTES)
		return -EINVAL;
	sg = aead_take_bytes(scratch, bytes, len);
	memcpy(scratch->tag, tag, AEAD_TAG_LEN);
	err = crypto_aead_decrypt(aead_prepare(scratch, tfm, nonce, sg, sg, len + AEAD_TAG_LEN));
	if (!err)
		memcpy(bytes, scratch->bytes, len);
	memzero_explicit(scratch->bytes, len);
	return err;
}

/* A request for texts that are not encrypted, with all that its scatterlist refers to besides blocks. */
struct mac_scratch {
	/*
	 * The text's own bytes, the runs of a block, the tag. The entries of a call are the last ones, so that the
	 * end never moves. None of them is empty.
	 */
	struct scatterlist parts[1 + AEAD_MAX_RUNS + 1];
	/* Behind the implementation's part. */
	u8 *text;
	unsigned int room;
	u8 tag[AEAD_TAG_LEN];
	u8 nonce[AEAD_NONCE_LEN];
	/* Last: the implementation's part is behind it. */
	struct aead_request req;
};

/* With @room bytes for a text, full of zeros, at a multiple of MAC_TEXT_ALIGN. */
#define MAC_TEXT_ALIGN 16

struct mac_scratch *rust_helper_mac_scratch_alloc(unsigned int reqsize, unsigned int room)
{
	size_t before_text = ALIGN(sizeof(struct mac_scratch) + reqsize, MAC_TEXT_ALIGN);
	/* kmalloc() aligns memory to the largest power of two that divides its length. */
	struct mac_scratch *scratch = kzalloc(before_text + ALIGN(room, MAC_TEXT_ALIGN),
					      GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);

	if (!scratch)
		return NULL;
	scratch->text = (u8 *)scratch + before_text;
	scratch->room = room;
	sg_init_table(scratch->parts, ARRAY_SIZE(scratch->parts));
	sg_set_buf(&scratch->parts[1 + AEAD_MAX_RUNS], scratch->tag, AEAD_TAG_LEN);
	/* As in aead_scratch_alloc(). */
	aead_request_set_callback(&scratch->req, 0, NULL, NULL);
	return scratch;
}

u8 *rust_helper_mac_scratch_text(struct mac_scratch *scratch)
{
	return scratch->text;
}

void rust_helper_mac_scratch_free(struct mac_scratch *scratch)
{
	kfree_sensitive(scratch);
}

/*
 * A request for @len bytes of the text and @count runs of the linear map: all of it is associated data. Source and
 * destination are the same, as then no implementation copies it. NULL if it is too much. @crypt_len is the tag's
 * length for one that is verified.
 */
static struct aead_request *mac_prepare(struct mac_scratch *scratch, struct crypto_aead *tfm, const u8 *nonce,
					unsigned int len, const struct kvec *runs, unsigned int count,
					unsigned int crypt_len)
{
	struct scatterlist *sg = &scratch->parts[1 + AEAD_MAX_RUNS];
	struct aead_request *req = &scratch->req;
	unsigned int runs_len = 0;

	if (len > scratch->room)
		return NULL;
	if (count) {
		sg = aead_take_runs(&scratch->parts[1], runs, count, &runs_len);
		if (!sg)
			return NULL;
	}
	if (len)
		sg_set_buf(--sg, scratch->text, len);
	memcpy(scratch->nonce, nonce, AEAD_NONCE_LEN);
	aead_request_set_tfm(req, tfm);
	aead_request_set_ad(req, len + runs_len);
	aead_request_set_crypt(req, sg, sg, crypt_len, scratch->nonce);
	return req;
}

/* The tag of @len bytes of the text, and @count runs of bytes of the linear map behind them. */
int rust_helper_mac_tag(struct mac_scratch *scratch, struct crypto_aead *tfm, const u8 *nonce, unsigned int len,
			const struct kvec *runs, unsigned int count, u8 *tag)
{
	struct aead_request *req = mac_prepare(scratch, tfm, nonce, len, runs, count, 0);
	int err;

	if (!req)
		return -EINVAL;
	err = crypto_aead_encrypt(req);
	memcpy(tag, scratch->tag, AEAD_TAG_LEN);
	return err;
}

/* -EBADMSG if the tag of @len bytes of the text is another. */
int rust_helper_mac_verify(struct mac_scratch *scratch, struct crypto_aead *tfm, const u8 *nonce, const u8 *tag,
			   unsigned int len)
{
	struct aead_request *req = mac_prepare(scratch, tfm, nonce, len, NULL, 0, AEAD_TAG_LEN);

	if (!req)
		return -EINVAL;
	memcpy(scratch->tag, tag, AEAD_TAG_LEN);
	return crypto_aead_decrypt(req);
}

void rust_helper_memzero_explicit(void *data, size_t len)
{
	memzero_explicit(data, len);
}
