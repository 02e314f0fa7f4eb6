/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ops - see ops.h.  Each request: a run_ function on the core, and a handler
 * that makes the op. */
#include "fs/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cache/staging.h"
#include "fs/inode.h"
#include "fs/marker.h"
#include "fs/op.h"
#include "fs/publish.h"
#include "fs/reader.h"
#include "fs/tree.h"
#include "fs/writeback.h"
#include "fs/writer.h"

#define REQUEST_MAX_BYTES (1u << 20)

/* ---- start ---- */

static void ops_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS |
			  FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ASYNC_DIO;
	conn->want |= conn->capable & wanted;
	conn->want &= ~(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_AUTO_INVAL_DATA |
			FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS);
	conn->max_write = REQUEST_MAX_BYTES;
	conn->max_readahead = REQUEST_MAX_BYTES;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
}

/* ---- names ---- */

static int run_lookup(struct op *op)
{
	int r = tree_lookup(op->fs, op->node, op->name, &op->attr);
	if (r != -ENOENT)
		return r;
	double ttl_s = know_absent_ttl_s(op->fs);
	if (ttl_s <= 0)
		return r;
	op->attr = (struct attr){ .entry_ttl_s = ttl_s }; /* id 0: absent, cached */
	return 0;
}

static void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	op_execute(op_new(req, "lookup", run_lookup, REPLY_ENTRY, parent, name));
}

static void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	(void)ino, (void)nlookup; /* rows stay until the mount ends */
	fuse_reply_none(req);
}

static void ops_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	(void)count, (void)forgets;
	fuse_reply_none(req);
}

static int run_mkdir(struct op *op)
{
	int r = tree_mkdir(op->fs, op->node, op->name, &op->attr);
	if (r < 0 || op->fs->config.dirmarkers != DIRMARKERS_ALWAYS)
		return r;
	marker_write(op->fs, op->attr.id, op_park(op));
	return -EINPROGRESS;
}

static void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	(void)mode;
	op_execute(op_new(req, "mkdir", run_mkdir, REPLY_ENTRY, parent, name));
}

static int run_unlink(struct op *op)
{
	return tree_unlink(op->fs, op->node, op->name);
}

static void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	op_execute(op_new(req, "unlink", run_unlink, REPLY_ERROR, parent, name));
}

static int run_rmdir(struct op *op)
{
	return tree_rmdir(op->fs, op->node, op->name);
}

static void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	op_execute(op_new(req, "rmdir", run_rmdir, REPLY_ERROR, parent, name));
}

static int run_rename(struct op *op)
{
	return tree_rename(op->fs, op->node, op->name, op->new_dir, op->new_name, op->flags);
}

static void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
		       const char *newname, unsigned flags)
{
	struct op *op = op_new(req, "rename", run_rename, REPLY_ERROR, parent, name);
	if (!op)
		return;
	op->new_dir = newparent;
	op->flags = flags;
	op->new_name = strdup(newname);
	if (!op->new_name)
		op->run = NULL;
	op_execute(op);
}

/* Hard links, symbolic links and device nodes have no place in a bucket. */
static void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	(void)ino, (void)newparent, (void)newname;
	fuse_reply_err(req, EPERM);
}

static void ops_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	(void)link, (void)parent, (void)name;
	fuse_reply_err(req, EPERM);
}

static int run_mknod(struct op *op)
{
	_cleanup_inode_ struct inode *inode = NULL;
	if (!S_ISREG(op->flags))
		return -EPERM;
	int r = tree_create(op->fs, op->node, op->name, &op->attr, &inode);
	if (r == 0)
		publish_want(inode, NULL);
	return r;
}

static void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	(void)rdev;
	struct op *op = op_new(req, "mknod", run_mknod, REPLY_ENTRY, parent, name);
	if (op)
		op->flags = mode;
	op_execute(op);
}

/* ---- attributes ---- */

static int run_getattr(struct op *op)
{
	return tree_getattr(op->fs, op->node, &op->attr);
}

static void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	op_execute(op_new(req, "getattr", run_getattr, REPLY_ATTR, ino, NULL));
}

/* -EINPROGRESS: told when it is in the bucket; with writeback, 0 as soon as it is
 * kept here. */
static int publish_or_keep(struct op *op, struct inode *inode)
{
	if (op->fs->config.writeback) {
		if (!pool_may_wait())
			return -EAGAIN;
		int r = writeback_keep(inode);
		if (r != -EDQUOT) {
			publish_want(inode, NULL);
			return r;
		}
	}
	publish_want(inode, op_park(op));
	return -EINPROGRESS;
}

/* truncate(2) and utimensat(2) by path are durable when they return. */
static int run_setattr(struct op *op)
{
	_cleanup_inode_ struct inode *inode = NULL;
	int r = op->run_again ? 0 : tree_setattr(op->fs, op->node, op->set_size, op->set_mtime_ns);
	if (r == 0)
		r = tree_getattr(op->fs, op->node, &op->attr);
	if (r < 0 || op->fh || op->run_again)
		return r;
	inode = inode_find(op->fs, op->node);
	if (!inode)
		return 0;
	if (op->fs->config.writeback && !pool_may_wait())
		return -EAGAIN; /* and is set once more, to the same */
	op->run_again = true;
	return publish_or_keep(op, inode);
}

/* chmod and chown: nothing is stored, so only what changes nothing succeeds. */
static int refused_change(const struct fs *fs, const struct stat *attr, int to_set)
{
	if ((to_set & FUSE_SET_ATTR_UID) && attr->st_uid != fs->config.uid)
		return -EPERM;
	if ((to_set & FUSE_SET_ATTR_GID) && attr->st_gid != fs->config.gid)
		return -EPERM;
	mode_t mode = (S_ISDIR(attr->st_mode) ? 0777 : 0666) & ~fs->config.umask;
	if ((to_set & FUSE_SET_ATTR_MODE) && (attr->st_mode & 07777) != mode)
		return -EPERM;
	return 0;
}

static int run_refused(struct op *op)
{
	struct attr attr;
	struct stat st;
	int r = tree_getattr(op->fs, op->node, &attr);
	if (r < 0)
		return r;
	op_stat(op->fs, &attr, &st);
	struct stat wanted = { .st_uid = op->set_size, .st_gid = op->set_mtime_ns };
	wanted.st_mode = (st.st_mode & S_IFMT) | op->offset;
	op->attr = attr;
	return refused_change(op->fs, &wanted, op->flags);
}

static int64_t wanted_mtime_ns(const struct stat *attr, int to_set)
{
	struct timespec now;
	if (to_set & FUSE_SET_ATTR_MTIME_NOW) {
		clock_gettime(CLOCK_REALTIME, &now);
		return now.tv_sec * 1000000000ll + now.tv_nsec;
	}
	if (!(to_set & FUSE_SET_ATTR_MTIME))
		return -1;
	return attr->st_mtim.tv_sec * 1000000000ll + attr->st_mtim.tv_nsec;
}

static void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
			struct fuse_file_info *fi)
{
	bool owner = to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID);
	struct op *op = op_new(req, "setattr", owner ? run_refused : run_setattr, REPLY_ATTR, ino,
			       NULL);
	if (!op)
		return;
	op->fh = fi ? fi->fh : 0;
	op->flags = to_set;
	if (owner) {
		op->set_size = attr->st_uid;
		op->set_mtime_ns = attr->st_gid;
		op->offset = attr->st_mode & 07777;
	} else {
		op->set_size = to_set & FUSE_SET_ATTR_SIZE ? attr->st_size : -1;
		op->set_mtime_ns = wanted_mtime_ns(attr, to_set);
	}
	op_execute(op);
}

static int run_statfs(struct op *op)
{
	(void)op;
	return 0;
}

static void ops_statfs(fuse_req_t req, fuse_ino_t ino)
{
	op_execute(op_new(req, "statfs", run_statfs, REPLY_STATFS, ino, NULL));
}

/* ---- files ---- */

static int open_inode(struct op *op, struct inode *inode)
{
	bool may_write = (op->flags & O_ACCMODE) != O_RDONLY;
	if (op->flags & O_TRUNC) {
		int r = writer_truncate(inode, 0);
		if (r < 0)
			return r;
	}
	int r = handle_open(op->fs, inode, may_write, &op->fi.fh);
	op->fi.keep_cache = 1; /* another version has another node id */
	return r;
}

static int run_open(struct op *op)
{
	_cleanup_inode_ struct inode *inode = NULL;
	int r = tree_open(op->fs, op->node, &inode);
	return r < 0 ? r : open_inode(op, inode);
}

static void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct op *op = op_new(req, "open", run_open, REPLY_OPEN, ino, NULL);
	if (op) {
		op->flags = fi->flags;
		op->fi = *fi;
	}
	op_execute(op);
}

static int run_create(struct op *op)
{
	_cleanup_inode_ struct inode *inode = NULL;
	int r = tree_create(op->fs, op->node, op->name, &op->attr, &inode);
	if (r == -EEXIST && !(op->flags & O_EXCL)) {
		r = tree_lookup(op->fs, op->node, op->name, &op->attr);
		if (r == 0)
			r = tree_open(op->fs, op->attr.id, &inode);
	}
	return r < 0 ? r : open_inode(op, inode);
}

static void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		       struct fuse_file_info *fi)
{
	(void)mode;
	struct op *op = op_new(req, "create", run_create, REPLY_CREATE, parent, name);
	if (op) {
		op->flags = fi->flags;
		op->fi = *fi;
	}
	op_execute(op);
}

static int run_read(struct op *op)
{
	struct handle *h = handle_get(op->fs, op->fh);
	if (!h)
		return -EBADF;
	if (!op->buf && !(op->buf = malloc(op->size ? op->size : 1)))
		return -ENOMEM;
	op->run_again = true;
	ssize_t n = reader_read(h->inode, h, op->buf, op->size, op->offset, op_park(op));
	if (n < 0)
		return n;
	op->length = n;
	return 0;
}

static void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		     struct fuse_file_info *fi)
{
	struct op *op = op_new(req, "read", run_read, REPLY_DATA, ino, NULL);
	if (op) {
		op->fh = fi->fh;
		op->size = size;
		op->offset = offset;
	}
	op_execute(op);
}

static int run_write(struct op *op)
{
	struct handle *h = handle_get(op->fs, op->fh);
	if (!h)
		return -EBADF;
	ssize_t n = writer_write(h->inode, op->data, op->size, op->offset);
	if (n < 0)
		return n;
	op->length = n;
	return 0;
}

static void ops_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
		      struct fuse_file_info *fi)
{
	struct op *op = op_new(req, "write", run_write, REPLY_WRITE, ino, NULL);
	if (op) {
		op->fh = fi->fh;
		op->data = data;
		op->size = size;
		op->offset = offset;
	}
	op_execute(op);
}

/* close(2), once for each descriptor. */
static int run_flush(struct op *op)
{
	struct handle *h = handle_get(op->fs, op->fh);
	if (!h || !h->may_write || publish_can_wait(h->inode))
		return 0;
	return publish_or_keep(op, h->inode);
}

static void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct op *op = op_new(req, "flush", run_flush, REPLY_ERROR, ino, NULL);
	if (op)
		op->fh = fi->fh;
	op_execute(op);
}

static int run_release(struct op *op)
{
	struct handle *h = handle_get(op->fs, op->fh);
	if (!h)
		return 0;
	_cleanup_inode_ struct inode *inode = inode_ref(h->inode);
	bool wrote = h->may_write;
	handle_close(op->fs, op->fh);
	if (wrote)
		publish_want(inode, NULL); /* created and left empty */
	return 0;
}

static void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct op *op = op_new(req, "release", run_release, REPLY_ERROR, ino, NULL);
	if (op)
		op->fh = fi->fh;
	op_execute(op);
}

static int run_fsync(struct op *op)
{
	struct handle *h = handle_get(op->fs, op->fh);
	if (!h)
		return -EBADF;
	pthread_mutex_lock(&h->inode->lock);
	bool staged = h->inode->staged;
	pthread_mutex_unlock(&h->inode->lock);
	if (staged && !pool_may_wait())
		return -EAGAIN; /* the disk may take its time */
	if (staged)
		return writer_sync_staged(h->inode);
	return publish_or_keep(op, h->inode);
}

static void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync;
	struct op *op = op_new(req, "fsync", run_fsync, REPLY_ERROR, ino, NULL);
	if (op)
		op->fh = fi->fh;
	op_execute(op);
}

/* ---- directories ---- */

struct filling {
	struct op *op;
	bool plus;
};

static bool add_entry(struct filling *f, const char *name, const struct attr *attr, off_t cookie)
{
	struct op *op = f->op;
	struct fuse_entry_param e = { 0 };
	op_stat(op->fs, attr, &e.attr);
	size_t left = op->size - op->length, n;
	bool dots = cookie <= 2;
	if (f->plus) {
		e.ino = dots ? 0 : attr->id;
		e.attr_timeout = e.entry_timeout = attr->entry_ttl_s;
		n = fuse_add_direntry_plus(op->request, op->buf + op->length, left, name, &e, cookie);
	} else {
		n = fuse_add_direntry(op->request, op->buf + op->length, left, name, &e.attr, cookie);
	}
	if (n > left)
		return false;
	op->length += n;
	return true;
}

/* Cookies: 1 after ".", 2 after "..", then the ids (all above 2). */
static bool add_child(void *arg, const char *name, const struct attr *attr)
{
	return add_entry(arg, name, attr, attr->id + 2);
}

static int fill(struct op *op, bool plus)
{
	struct filling f = { op, plus };
	struct attr self = { .id = op->node, .kind = META_DIR };
	uint64_t after = op->offset > 2 ? op->offset - 2 : 0;
	if (!op->buf && !(op->buf = malloc(op->size)))
		return -ENOMEM;
	op->length = 0;
	if (op->offset < 1 && !add_entry(&f, ".", &self, 1))
		return 0;
	if (op->offset < 2 && !add_entry(&f, "..", &self, 2))
		return 0;
	return tree_children(op->fs, op->node, after, add_child, &f);
}

static int run_readdir(struct op *op)
{
	return fill(op, false);
}

static int run_readdirplus(struct op *op)
{
	return fill(op, true);
}

static void list_dir(fuse_req_t req, const char *kind, op_fn run, fuse_ino_t ino, size_t size,
		     off_t offset)
{
	struct op *op = op_new(req, kind, run, REPLY_DATA, ino, NULL);
	if (op) {
		op->size = size;
		op->offset = offset;
	}
	op_execute(op);
}

static void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
			struct fuse_file_info *fi)
{
	(void)fi;
	list_dir(req, "readdir", run_readdir, ino, size, offset);
}

static void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
			    struct fuse_file_info *fi)
{
	(void)fi;
	list_dir(req, "readdirplus", run_readdirplus, ino, size, offset);
}

/* First what was begun in the directory, then its own marker. */
static int run_fsyncdir(struct op *op)
{
	if (op->run_again) {
		op->run_again = false;
		marker_write(op->fs, op->node, op_park(op));
		return -EINPROGRESS;
	}
	op->run_again = true;
	/* Of the root: all that there is. */
	publish_wait_dir(op->fs, op->node == FUSE_ROOT_ID ? 0 : op->node, op_park(op));
	return -EINPROGRESS;
}

static void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync, (void)fi;
	op_execute(op_new(req, "fsyncdir", run_fsyncdir, REPLY_ERROR, ino, NULL));
}

const struct fuse_lowlevel_ops ops_table = {
	.init = ops_init,
	.lookup = ops_lookup,
	.forget = ops_forget,
	.forget_multi = ops_forget_multi,
	.getattr = ops_getattr,
	.setattr = ops_setattr,
	.mknod = ops_mknod,
	.mkdir = ops_mkdir,
	.unlink = ops_unlink,
	.rmdir = ops_rmdir,
	.symlink = ops_symlink,
	.rename = ops_rename,
	.link = ops_link,
	.open = ops_open,
	.create = ops_create,
	.read = ops_read,
	.write = ops_write,
	.flush = ops_flush,
	.release = ops_release,
	.fsync = ops_fsync,
	.readdir = ops_readdir,
	.readdirplus = ops_readdirplus,
	.fsyncdir = ops_fsyncdir,
	.statfs = ops_statfs,
};
