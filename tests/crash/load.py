# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registry does to its files, with a manifest of what was acknowledged.

A file enters the manifest only after its operation was acknowledged as durable:
fsync or close of a written file, fsync of the directory after a rename.
"""
import hashlib
import os
import random
import threading

ROOT = "docker/registry/v2"


class Load(threading.Thread):
    """Pushes, tags, writes and renames below `path`, until something fails."""

    def __init__(self, path, seed):
        super().__init__(daemon=True)
        self.path, self.name = path, f"r{seed}"
        self.random = random.Random(seed)
        self.done = {}     # path -> bytes: acknowledged
        self.maybe = {}    # path -> set of bytes (None: absent): begun, not acknowledged
        self.ended = threading.Event()
        self.rounds = 0
        self.error = None

    def run(self):
        while not self.ended.is_set():
            try:
                self.random.choice((self.push, self.push, self.tag, self.plain, self.rename,
                                    self.unlink))()
            except OSError as e:
                self.error = e
                return
            self.rounds += 1

    def stop(self):
        self.ended.set()
        self.join(60)
        assert not self.is_alive(), "the load hangs"

    # -- steps --

    def begin(self, path, content):
        self.maybe.setdefault(path, {self.done.get(path)}).add(content)

    def acknowledge(self, path, content):
        self.done[path] = content
        self.maybe.pop(path, None)

    def write(self, path, content, sync=True):
        self.begin(path, content)
        full = f"{self.path}/{path}"
        os.makedirs(os.path.dirname(full), exist_ok=True)
        fd = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.write(fd, content)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        self.acknowledge(path, content)

    def push(self):
        """A layer: staged, renamed to its digest, then its link."""
        size = self.random.choice([0, 100, 5000, 200_000, 6_000_000])
        data = self.random.randbytes(size)
        digest = hashlib.sha256(data).hexdigest()
        session = f"{self.path}/{ROOT}/repositories/{self.name}/_uploads/{self.rounds}"
        os.makedirs(session)
        with open(session + "/startedat", "w") as f:
            f.write("now")
        with open(session + "/data", "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        blob = f"{ROOT}/blobs/sha256/{digest[:2]}/{digest}/data"
        self.begin(blob, data)
        os.makedirs(os.path.dirname(f"{self.path}/{blob}"), exist_ok=True)
        os.rename(session + "/data", f"{self.path}/{blob}")
        self.write(f"{ROOT}/repositories/{self.name}/_layers/sha256/{digest}/link",
                   b"sha256:" + digest.encode())
        self.acknowledge(blob, data)  # by the link's fsync
        os.unlink(session + "/startedat")
        os.rmdir(session)

    def tag(self):
        link = f"{ROOT}/repositories/{self.name}/_manifests/tags/{self.random.randrange(3)}/current/link"
        self.write(link, b"sha256:" + self.random.randbytes(32).hex().encode())

    def plain(self):
        size = self.random.choice([1, 300, 70_000, 5_500_000])
        self.write(f"{self.name}/f{self.random.randrange(4)}", self.random.randbytes(size),
                   sync=self.random.random() < 0.5)

    def sync_dir(self, path):
        fd = os.open(f"{self.path}/{path}", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def own(self):
        return [p for p in self.done if p.startswith(self.name + "/") and self.done[p] is not None]

    def rename(self):
        if not self.own():
            return
        source = self.random.choice(self.own())
        target = f"{self.name}/n{self.random.randrange(4)}"
        if source == target:
            return
        content = self.done[source]
        self.begin(target, content)
        self.begin(source, None)
        os.rename(f"{self.path}/{source}", f"{self.path}/{target}")
        self.sync_dir(self.name)
        self.acknowledge(target, content)
        self.acknowledge(source, None)

    def unlink(self):
        if not self.own():
            return
        path = self.random.choice(self.own())
        self.begin(path, None)
        os.unlink(f"{self.path}/{path}")
        self.sync_dir(self.name)
        self.acknowledge(path, None)

    # -- afterwards --

    def allowed(self):
        """path -> what may be there: bytes, or None for nothing."""
        found = {path: {content} for path, content in self.done.items()}
        found.update(self.maybe)
        return found


def lost(loads, read):
    """What is not as the manifests say; read(path) -> bytes or None."""
    wrong = []
    for load in loads:
        for path, contents in load.allowed().items():
            have = read(path)
            if have not in contents:
                wrong.append((path, None if have is None else len(have),
                              [None if c is None else len(c) for c in contents]))
    return wrong


def orphans(loads, keys):
    """Keys of the bucket that no manifest speaks of."""
    known = {path for load in loads for path in load.allowed()}
    markers = {f"{load.name}/" for load in loads}  # of a directory fsynced while empty
    return sorted(set(keys) - known - markers)
