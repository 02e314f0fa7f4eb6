# SPDX-License-Identifier: GPL-3.0-or-later
"""The same random operations on two directories, and what differs.

One directory is on a local disk, the other on the mount.  After each operation
the outcome (result or errno) must be the same; at the end, and now and then,
so must names, sizes, contents and times that were set.

Left out, because the mount decides otherwise (tardigradefs(1)): renames of
directories that hold something (EXDEV), links, modes.
"""
import errno
import hashlib
import os
import random

NAMES = ["a", "b", "c", "dir1", "dir2", "x y", "ümlaut", "%41", "plus+sign", "d"]
SIZES = [0, 1, 10, 4095, 4096, 70_000, 300_000, 1_100_000]


class Pair:
    """Open descriptors of one file on both sides."""

    def __init__(self, fds):
        self.fds = fds


class RandomOps:
    def __init__(self, seed, left, right):
        self.random = random.Random(seed)
        self.roots = (str(left), str(right))
        self.open = []
        self.log = []

    # -- paths --

    def path(self):
        depth = self.random.choice([1, 1, 2, 2, 3])
        return "/".join(self.random.choice(NAMES) for _ in range(depth))

    def both(self, what, fn):
        """fn(root) on both sides; the outcomes must agree."""
        outcomes = []
        for root in self.roots:
            try:
                outcomes.append(("ok", fn(root)))
            except OSError as e:
                outcomes.append(("error", errno.errorcode.get(e.errno, e.errno)))
        self.log.append(f"{what} -> {outcomes[0]}")
        assert outcomes[0] == outcomes[1], (
            f"{what}: disk {outcomes[0]}, mount {outcomes[1]}\n" + "\n".join(self.log[-40:]))
        return outcomes[0]

    def data(self):
        size = self.random.choice(SIZES)
        return self.random.randbytes(size)

    # -- operations --

    def op_write_file(self):
        path, data = self.path(), self.data()

        def write(root):
            with open(f"{root}/{path}", "wb") as f:
                f.write(data)
        self.both(f"write {path} {len(data)}", write)

    def op_append(self):
        path, data = self.path(), self.data()[:5000]

        def append(root):
            with open(f"{root}/{path}", "ab") as f:
                f.write(data)
                return f.tell()
        self.both(f"append {path} {len(data)}", append)

    def op_write_middle(self):
        path, data, at = self.path(), self.data()[:9000], self.random.randrange(100_000)

        def write(root):
            fd = os.open(f"{root}/{path}", os.O_RDWR)
            try:
                os.pwrite(fd, data, at)
                os.fsync(fd)
            finally:
                os.close(fd)
        self.both(f"pwrite {path} at {at} {len(data)}", write)

    def op_read(self):
        path, at, n = self.path(), self.random.randrange(200_000), self.random.randrange(1, 200_000)

        def read(root):
            fd = os.open(f"{root}/{path}", os.O_RDONLY)
            try:
                return hashlib.md5(os.pread(fd, n, at)).hexdigest()
            finally:
                os.close(fd)
        if not self.is_dir(path):
            self.both(f"read {path} at {at} {n}", read)

    def op_truncate(self):
        path, size = self.path(), self.random.choice(SIZES)
        self.both(f"truncate {path} {size}", lambda root: os.truncate(f"{root}/{path}", size))

    def op_mkdir(self):
        path = self.path()
        self.both(f"mkdir {path}", lambda root: os.mkdir(f"{root}/{path}"))

    def op_rmdir(self):
        path = self.path()
        self.both(f"rmdir {path}", lambda root: os.rmdir(f"{root}/{path}"))

    def op_unlink(self):
        path = self.path()
        self.both(f"unlink {path}", lambda root: os.unlink(f"{root}/{path}"))

    def op_rename(self):
        old, new = self.path(), self.path()
        if not self.is_dir(old):
            self.both(f"rename {old} {new}",
                      lambda root: os.rename(f"{root}/{old}", f"{root}/{new}"))

    def op_excl(self):
        path = self.path()

        def create(root):
            os.close(os.open(f"{root}/{path}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        self.both(f"create {path}", create)

    def op_utime(self):
        path, when = self.path(), self.random.randrange(10**9)
        if not self.is_dir(path):
            self.both(f"utime {path} {when}",
                      lambda root: os.utime(f"{root}/{path}", (when, when)))

    def op_stat(self):
        path = self.path()

        def stat(root):
            st = os.stat(f"{root}/{path}")
            return (st.st_mode & 0o170000, 0 if os.path.isdir(f"{root}/{path}") else st.st_size)
        self.both(f"stat {path}", stat)

    def op_listdir(self):
        path = self.path()
        self.both(f"ls {path}", lambda root: sorted(os.listdir(f"{root}/{path}")))

    def op_open_keep(self):
        """Keeps a file open, to be written, read, unlinked and renamed meanwhile."""
        path = self.path()
        if len(self.open) > 4 or self.is_dir(path):
            return
        fds = []
        outcome = self.both(f"open {path}", lambda root: fds.append(
            os.open(f"{root}/{path}", os.O_RDWR)) or 0)
        if outcome[0] == "ok":
            self.open.append(Pair(fds))

    def on_open(self, what, fn):
        if not self.open:
            return
        pair = self.random.choice(self.open)
        roots, self.roots = self.roots, tuple(pair.fds)
        try:
            self.both(what, fn)
        finally:
            self.roots = roots

    def op_open_write(self):
        data, at = self.data()[:20_000], self.random.randrange(50_000)
        self.on_open(f"write open at {at} {len(data)}", lambda fd: os.pwrite(fd, data, at))

    def op_open_read(self):
        self.on_open("read open", lambda fd: hashlib.md5(os.pread(fd, 1 << 21, 0)).hexdigest())

    def op_open_sync(self):
        self.on_open("fsync open", os.fsync)

    def op_open_truncate(self):
        size = self.random.choice(SIZES)
        self.on_open(f"ftruncate open {size}", lambda fd: os.ftruncate(fd, size))

    def op_close(self):
        if self.open:
            pair = self.open.pop(self.random.randrange(len(self.open)))
            for fd in pair.fds:
                os.close(fd)
            self.log.append("close")

    # -- running --

    def is_dir(self, path):
        return os.path.isdir(f"{self.roots[0]}/{path}")

    def run(self, steps):
        ops = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("op_")]
        for step in range(steps):
            self.random.choice(ops)()
            if step % 100 == 99:
                self.compare()
        while self.open:
            self.op_close()
        self.compare()

    def compare(self):
        disk, mount = tree(self.roots[0]), tree(self.roots[1])
        differ = {path: (disk.get(path), mount.get(path)) for path in {**disk, **mount}
                  if disk.get(path) != mount.get(path)}
        assert not differ, f"{differ}\n" + "\n".join(self.log[-60:])


def tree(root, empty_dirs=True):
    """path -> size and hash of a file, or 'dir'."""
    found = {}
    for base, dirs, files in os.walk(root):
        at = os.path.relpath(base, root)
        if at != "." and (empty_dirs or dirs or files):
            found[at] = "dir"
        for name in files:
            with open(f"{base}/{name}", "rb") as f:
                data = f.read()
            found[os.path.normpath(f"{at}/{name}")] = (len(data), hashlib.md5(data).hexdigest())
    return found


if __name__ == "__main__":
    import sys
    RandomOps(int(sys.argv[1]), sys.argv[3], sys.argv[4]).run(int(sys.argv[2]))
