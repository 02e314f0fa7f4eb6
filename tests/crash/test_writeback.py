# SPDX-License-Identifier: GPL-3.0-or-later
"""-o writeback: durable here first, in the bucket later, and nothing lost between."""
import hashlib
import os
import shutil
import time

import pytest

from harness.mount import is_mounted
from harness.process import wait_for


def write(path, data):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_root(mount):
    fd = os.open(mount.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def slow(gateway, milliseconds):
    gateway.faults({"match": {"kind": "PutObject"}, "action": {"latency_ms": milliseconds}})


def test_returns_before_the_upload_and_root_fsync_waits(gateway, mounts):
    mount = mounts(gateway, writeback=True)
    slow(gateway, 1500)
    begin = time.monotonic()
    write(mount.path + "/f", b"x" * 1000)
    assert time.monotonic() - begin < 1.4
    assert gateway.bucket().objects() == {}
    sync_root(mount)
    assert gateway.bucket().objects() == {"f": 1000}


def test_gateway_gone_while_written(gateway, mounts):
    """Acknowledged with the gateway gone, killed, mounted again: it arrives."""
    mount = mounts(gateway, writeback=True, timeout=1)
    write(mount.path + "/a", b"first")
    sync_root(mount)
    gateway.stop()
    write(mount.path + "/a", b"second")
    write(mount.path + "/a", b"third")
    mount.crash()
    shutil.rmtree(mount.folder + "/cache")
    gateway.start()
    mount.mount()
    sync_root(mount)
    assert gateway.bucket().get("a") == b"third"
    with open(mount.path + "/a", "rb") as f:
        assert f.read() == b"third"


def test_tried_again_without_anybody_asking(gateway, mounts):
    mount = mounts(gateway, writeback=True, timeout=1)
    gateway.stop()
    with pytest.raises(OSError):  # what is in the bucket cannot be known now
        os.stat(mount.path + "/nothing")
    gateway.start()
    os.listdir(mount.path)
    gateway.stop()
    write(mount.path + "/f", b"x")
    time.sleep(2)
    gateway.start()
    wait_for(lambda: gateway.bucket().objects() == {"f": 1}, 40, "the upload")


def test_kept_bytes_are_not_changed_by_a_later_write(gateway, mounts):
    """Old or new, never half: what was acknowledged survives what was not."""
    mount = mounts(gateway, writeback=True, timeout=1)
    os.listdir(mount.path)
    gateway.stop()
    write(mount.path + "/f", b"acknowledged")
    file = open(mount.path + "/f", "r+b", buffering=0)
    file.write(b"not")
    mount.crash()
    gateway.start()
    mount.mount()
    sync_root(mount)
    assert gateway.bucket().get("f") == b"acknowledged"
    with pytest.raises(OSError):
        file.write(b"x")
    with pytest.raises(OSError):
        file.close()


def test_link_after_its_blob(gateway, mounts):
    mount = mounts(gateway, writeback=True)
    data = os.urandom(50_000)
    digest = hashlib.sha256(data).hexdigest()
    root = "docker/registry/v2"
    session = f"{mount.path}/{root}/repositories/a/_uploads/u"
    blob = f"{root}/blobs/sha256/{digest[:2]}/{digest}/data"
    link = f"{root}/repositories/a/_layers/sha256/{digest}/link"
    os.makedirs(session)
    write(session + "/data", data)
    gateway.faults({"match": {"kind": "PutObject", "key": "*/data"}, "action": {"latency_ms": 1200}})
    os.makedirs(os.path.dirname(f"{mount.path}/{blob}"))
    os.rename(session + "/data", f"{mount.path}/{blob}")
    os.makedirs(os.path.dirname(f"{mount.path}/{link}"))
    write(f"{mount.path}/{link}", b"sha256:" + digest.encode())
    mount.crash()  # neither is in the bucket
    assert gateway.bucket().objects() == {}
    gateway.faults({"match": {"kind": "PutObject", "key": "*/data"}, "action": {"latency_ms": 1200}})
    mount.mount()
    time.sleep(0.5)
    assert link not in gateway.bucket().objects()
    sync_root(mount)
    assert set(gateway.bucket().objects()) == {blob, link}


def test_at_most_writeback_max(gateway, mounts):
    """Beyond it a writer waits for his upload."""
    mount = mounts(gateway, writeback=True, writeback_max="1M")
    slow(gateway, 1000)
    begin = time.monotonic()
    write(mount.path + "/a", b"x" * 700_000)
    assert time.monotonic() - begin < 0.9
    write(mount.path + "/b", b"x" * 700_000)
    assert time.monotonic() - begin > 0.9
    assert "b" in gateway.bucket().objects()


def test_unmount_uploads_what_is_left(gateway, mounts):
    mount = mounts(gateway, writeback=True)
    slow(gateway, 800)
    for i in range(5):
        write(f"{mount.path}/{i}", b"x")
    mount.unmount()
    assert not is_mounted(mount.path)
    assert len(gateway.bucket().objects()) == 5


def test_left_behind_says_so(gateway, mounts):
    """The gateway stays away: status 6, and the next mount has it."""
    mount = mounts(gateway, writeback=True, timeout=1)
    os.listdir(mount.path)
    gateway.stop()
    write(mount.path + "/f", b"kept")
    mount.unmount(status=6)
    gateway.start()
    mount.mount()
    sync_root(mount)
    assert gateway.bucket().get("f") == b"kept"
