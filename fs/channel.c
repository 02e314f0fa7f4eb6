/* SPDX-License-Identifier: GPL-3.0-or-later */
/* channel - see channel.h */
#include "fs/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "fs/handover.h"
#include "fs/op.h"

#define MAGIC 0x74617264u
#define LAYOUT 1u
#define SLOTS 1024u
#define PAGE 4096u
#define DATA_BYTES ((1u << 20) + PAGE) /* libfuse's buffer: the largest write and its header */
#define TRIES_MAX 3u
#define INIT_MAX 256u
/* Slots up to here keep their memory; what is above is given back. */
#define WARM_SLOTS 16u

enum { FREE, RECEIVING, HELD, ANSWERED };

struct saved {
	uint32_t length;
	uint8_t bytes[INIT_MAX];
};

struct memory {
	uint32_t magic, layout;
	uint64_t size;
	_Atomic uint32_t served, takeovers, forgive;
	_Atomic uint64_t progress;
	int64_t began_ms;
	struct saved init, init_reply; /* of a mount that has begun */
	struct slot slots[SLOTS];
};

struct channel {
	int fd;
	struct memory *memory;
	bool taken_over;
	_Atomic uint64_t swallow; /* the INIT that this worker runs again */
	pthread_mutex_t lock;
	pthread_cond_t freed;
	uint32_t free[SLOTS], free_count; /* guarded by lock */
	bool populated[SLOTS];		  /* its owner's */
};

static _Thread_local struct slot *current;

struct slot *channel_current(void)
{
	return current;
}

static size_t align(size_t n)
{
	return (n + PAGE - 1) / PAGE * PAGE;
}

static size_t handover_offset(void)
{
	return align(sizeof(struct memory));
}

static size_t data_offset(void)
{
	return handover_offset() + align(handover_size());
}

static size_t memory_size(void)
{
	return data_offset() + (size_t)SLOTS * DATA_BYTES;
}

static uint8_t *slot_data(const struct channel *c, const struct slot *slot)
{
	return (uint8_t *)c->memory + data_offset() +
	       (size_t)(slot - c->memory->slots) * DATA_BYTES;
}

static struct fuse_in_header *slot_head(const struct channel *c, const struct slot *slot)
{
	return (struct fuse_in_header *)slot_data(c, slot);
}

/* ---- the memory ---- */

int channel_create(int *ret_fd)
{
	_cleanup_close_ int fd = memfd_create("tardigradefs", MFD_CLOEXEC);
	struct memory head = { .magic = MAGIC, .layout = LAYOUT, .size = memory_size() };
	if (fd < 0 || ftruncate(fd, memory_size()) < 0 ||
	    pwrite(fd, &head, sizeof(head), 0) != sizeof(head))
		return -errno;
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* C1: what was being received is a request if its head is there. */
static void adopt(struct channel *c, uint32_t i)
{
	struct slot *slot = &c->memory->slots[i];
	if (slot->state == RECEIVING) {
		slot->unique = slot_head(c, slot)->unique;
		slot->state = slot_head(c, slot)->len ? HELD : FREE;
	}
	if (slot->state == FREE)
		c->free[c->free_count++] = i;
}

int channel_open(int fd, struct channel **ret_channel)
{
	struct memory head;
	if (pread(fd, &head, sizeof(head), 0) != sizeof(head))
		return -EPROTO;
	if (head.magic != MAGIC || head.layout != LAYOUT || head.size != memory_size())
		return -EPROTO;
	struct channel *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->fd = fd;
	c->memory = mmap(NULL, memory_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (c->memory == MAP_FAILED) {
		free(c);
		return -ENOMEM;
	}
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->freed, NULL);
	c->taken_over = c->memory->served;
	*ret_channel = c;
	return 0;
}

struct channel *channel_close(struct channel *c)
{
	if (!c)
		return NULL;
	munmap(c->memory, memory_size());
	pthread_cond_destroy(&c->freed);
	pthread_mutex_destroy(&c->lock);
	free(c);
	return NULL;
}

bool channel_is_taken_over(const struct channel *c)
{
	return c->taken_over;
}

unsigned channel_takeovers(const struct channel *c)
{
	return c->memory->takeovers;
}

uint64_t channel_progress(const struct channel *c)
{
	return c->memory->progress;
}

void channel_note_progress(struct channel *c)
{
	c->memory->progress++;
}

void channel_forgive(struct channel *c)
{
	c->memory->forgive = 1;
}

int64_t channel_began_ms(struct channel *c, int64_t now_ms)
{
	if (!c->memory->began_ms)
		c->memory->began_ms = now_ms;
	return c->memory->began_ms;
}

void *channel_memory(struct channel *c)
{
	return (uint8_t *)c->memory + handover_offset();
}

void channel_each_lost_handle(struct channel *c, void (*fn)(void *arg, uint64_t number), void *arg)
{
	for (uint32_t i = 0; i < SLOTS; i++) {
		struct slot *slot = &c->memory->slots[i];
		if (slot->state == HELD && slot->attempt.handle)
			fn(arg, slot->attempt.handle);
	}
}

/* ---- slots ---- */

/*
 * Its pages are there, and mapped, before the kernel copies a request into them:
 * for want of a page, a worker that is killed in the middle of that copy would
 * cost the request, which the kernel ends with EIO then.
 */
static void populate(struct channel *c, struct slot *slot)
{
	uint32_t i = slot - c->memory->slots;
	if (c->populated[i])
		return;
	if (madvise(slot_data(c, slot), DATA_BYTES, MADV_POPULATE_WRITE) < 0)
		for (size_t at = 0; at < DATA_BYTES; at += PAGE) /* a kernel before 5.14 */
			*(volatile uint8_t *)(slot_data(c, slot) + at) = 0;
	c->populated[i] = true;
}

static struct slot *slot_take(struct channel *c)
{
	pthread_mutex_lock(&c->lock);
	while (!c->free_count)
		pthread_cond_wait(&c->freed, &c->lock);
	struct slot *slot = &c->memory->slots[c->free[--c->free_count]];
	pthread_mutex_unlock(&c->lock);
	populate(c, slot);
	memset(slot_head(c, slot), 0, sizeof(struct fuse_in_header));
	slot->unique = 0;
	slot->executing = slot->tries = 0;
	slot->attempt.node = slot->attempt.handle = 0;
	slot->state = RECEIVING;
	return slot;
}

static void slot_release(struct channel *c, struct slot *slot)
{
	uint32_t i = slot - c->memory->slots;
	slot->state = FREE;
	if (i >= WARM_SLOTS) {
		c->populated[i] = false;
		fallocate(c->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  data_offset() + (off_t)i * DATA_BYTES, DATA_BYTES);
	}
	LOCK_SCOPE(&c->lock);
	c->free[c->free_count++] = i;
	pthread_cond_signal(&c->freed);
}

static struct slot *slot_of(struct channel *c, uint64_t unique)
{
	for (uint32_t i = 0; i < SLOTS; i++) {
		struct slot *slot = &c->memory->slots[i];
		if (slot->unique == unique && slot->state == HELD)
			return slot;
	}
	return NULL;
}

/* Requests that get no reply are over when they were handled. */
static bool has_reply(uint32_t opcode)
{
	return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT;
}

static void run(struct channel *c, struct fuse_session *session, struct slot *slot, size_t length)
{
	struct fuse_buf buf = { .mem = slot_data(c, slot), .size = length };
	bool reply = has_reply(slot_head(c, slot)->opcode);
	current = slot;
	fuse_session_process_buf(session, &buf);
	current = NULL;
	if (!reply)
		slot_release(c, slot);
}

int channel_serve(struct channel *c, struct fuse_session *session)
{
	struct slot *slot = slot_take(c);
	struct fuse_buf buf = { .mem = slot_data(c, slot) };
	int n = fuse_session_receive_buf(session, &buf);
	if (n <= 0) {
		slot_release(c, slot);
		return n;
	}
	slot->unique = slot_head(c, slot)->unique;
	slot->state = HELD;
	run(c, session, slot, n);
	return n;
}

/* ---- libfuse's reads and writes ---- */

static ssize_t io_read(int fd, void *buf, size_t size, void *userdata)
{
	(void)userdata;
	return read(fd, buf, size);
}

static size_t total(const struct iovec *iov, int count)
{
	size_t n = 0;
	for (int i = 0; i < count; i++)
		n += iov[i].iov_len;
	return n;
}

static void gather(const struct iovec *iov, int count, uint8_t *to)
{
	for (int i = 0; i < count; i++) {
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
}

static void save(struct saved *saved, const struct iovec *iov, int count)
{
	if (total(iov, count) > sizeof(saved->bytes))
		return;
	gather(iov, count, saved->bytes);
	saved->length = total(iov, count);
}

/* The INIT of a mount is answered once; later workers adopt what was said. */
static void save_init(struct channel *c, const struct slot *slot, const struct iovec *iov, int count)
{
	struct fuse_in_header *head = slot_head(c, slot);
	struct iovec request = { head, head->len };
	save(&c->memory->init, &request, 1);
	save(&c->memory->init_reply, iov, count);
	c->memory->served = 1;
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct channel *c = ((struct mounted *)userdata)->channel;
	uint64_t unique = ((struct fuse_out_header *)iov[0].iov_base)->unique;
	size_t length = total(iov, count);
	if (unique && unique == c->swallow) {
		if (length != c->memory->init_reply.length ||
		    memcmp(iov[0].iov_base, c->memory->init_reply.bytes, iov[0].iov_len))
			log_warning("this version answers INIT in another way than the one before it");
		return length;
	}
	struct slot *slot = unique ? slot_of(c, unique) : NULL;
	if (slot && slot_head(c, slot)->opcode == FUSE_INIT)
		save_init(c, slot, iov, count);
	if (slot && length <= sizeof(slot->reply)) {
		gather(iov, count, slot->reply);
		slot->reply_length = length;
		slot->state = ANSWERED;
	}
	ssize_t n = writev(fd, iov, count);
	int error = errno;
	if (slot) {
		slot_release(c, slot);
		c->memory->progress++;
	}
	errno = error;
	return n;
}

const struct fuse_custom_io channel_io = { .writev = io_writev, .read = io_read };

/* ---- takeover ---- */

static void replay_init(struct channel *c, struct fuse_session *session)
{
	_cleanup_free_ uint8_t *copy = malloc(DATA_BYTES);
	struct saved *init = &c->memory->init;
	if (!copy || !init->length)
		return;
	memcpy(copy, init->bytes, init->length);
	struct fuse_buf buf = { .mem = copy, .size = init->length };
	c->swallow = ((struct fuse_in_header *)copy)->unique;
	fuse_session_process_buf(session, &buf);
	c->swallow = 0;
}

static void answer(struct channel *c, struct fuse_session *session, struct slot *slot)
{
	if (write(fuse_session_fd(session), slot->reply, slot->reply_length) < 0)
		log_debug("the kernel had that reply: %s", strerror(errno));
	slot_release(c, slot);
}

static void give_up(struct channel *c, struct fuse_session *session, struct slot *slot)
{
	struct fuse_out_header *out = (struct fuse_out_header *)slot->reply;
	log_error("request %u of node %llu has cost %u workers their life: it gets EIO",
		  slot_head(c, slot)->opcode, (unsigned long long)slot_head(c, slot)->nodeid,
		  (unsigned)slot->tries);
	*out = (struct fuse_out_header){ .len = sizeof(*out), .error = -EIO, .unique = slot->unique };
	slot->reply_length = sizeof(*out);
	answer(c, session, slot);
}

static void replay(struct channel *c, struct fuse_session *session, struct slot *slot)
{
	struct fuse_in_header *head = slot_head(c, slot);
	if (slot->executing && !c->memory->forgive)
		slot->tries++;
	slot->executing = 0;
	slot->attempt.handle = 0;
	if (!has_reply(head->opcode))
		slot_release(c, slot);
	else if (slot->tries >= TRIES_MAX)
		give_up(c, session, slot);
	else
		run(c, session, slot, head->len);
}

void channel_replay(struct channel *c, struct fuse_session *session)
{
	unsigned held = 0;
	for (uint32_t i = SLOTS; i-- > 0;)
		adopt(c, i);
	if (c->taken_over)
		c->memory->takeovers++;
	replay_init(c, session);
	for (uint32_t i = 0; i < SLOTS; i++) {
		struct slot *slot = &c->memory->slots[i];
		if (slot->state == ANSWERED) {
			answer(c, session, slot);
		} else if (slot->state == HELD) {
			replay(c, session, slot);
			held++;
		}
	}
	c->memory->forgive = 0;
	if (c->taken_over)
		log_info("took over: %u requests are run again", held);
}
