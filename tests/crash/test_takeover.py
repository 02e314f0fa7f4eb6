# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker dies, again and again: nobody above the mount notices."""
import os
import signal
import threading
import time

import pytest
from randomops import RandomOps, tree

from harness.process import wait_for

STEPS = int(os.environ.get("TARDIGRADEFS_CRASH_STEPS", "5000"))


def files(found):
    return {path: what for path, what in found.items() if what != "dir"}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mode", ["default", "exclusive", "shared"])
def test_same_as_a_disk(gateway, mounts, killers, folder, seed, mode):
    """Random operations, compared with a disk one by one, under kills."""
    options = {} if mode == "default" else {mode: True}
    mount = mounts(gateway, **options)
    os.mkdir(folder + "/disk")
    killer = killers(mount, seed, least_s=0.1, most_s=0.4)
    RandomOps(f"takeover-{mode}{seed}", folder + "/disk", mount.path).run(STEPS)
    assert killer.stop() > 5
    mount.unmount()
    fresh = mounts(gateway)
    assert files(tree(fresh.path)) == files(tree(folder + "/disk"))
    assert gateway.bucket().uploads() == []
    assert os.listdir(mount.folder + "/state/spool") == []


def test_reads_that_wait_go_on(gateway, mounts, folder):
    """Parked reads are in slots, and are answered by the next worker."""
    bucket = gateway.bucket()
    bucket.create()
    data = os.urandom(3_000_000)
    bucket.put("f", data)
    mount = mounts(gateway)
    gateway.faults({"match": {"kind": "GetObject"}, "action": {"latency_ms": 400}})
    got = []
    readers = [threading.Thread(target=lambda: got.append(open(mount.path + "/f", "rb").read()))
               for _ in range(20)]
    for reader in readers:
        reader.start()
    time.sleep(0.15)
    assert mount.kill_worker()
    time.sleep(0.5)
    assert mount.kill_worker()
    for reader in readers:
        reader.join(30)
    assert len(got) == 20 and all(g == data for g in got)


def test_open_files_stay(gateway, mounts):
    """Staged, unpublished, unlinked, renamed: what is open stays open."""
    mount = mounts(gateway)
    bucket = gateway.bucket()
    session = mount.path + "/docker/registry/v2/repositories/a/_uploads/u"
    os.makedirs(session)
    staged = open(session + "/data", "wb+", buffering=0)
    staged.write(b"staged")
    gone = open(session + "/gone", "wb+", buffering=0)
    gone.write(b"staged and gone")
    os.unlink(session + "/gone")
    new = open(mount.path + "/new", "wb+", buffering=0)
    new.write(b"not published")
    with open(mount.path + "/old", "wb") as f:
        f.write(b"published")
    old = open(mount.path + "/old", "rb", buffering=0)
    os.unlink(mount.path + "/old")
    moved = open(mount.path + "/new2", "wb+", buffering=0)
    moved.write(b"moved")
    os.rename(mount.path + "/new2", mount.path + "/new3")
    for _ in range(3):
        assert mount.kill_worker()
        time.sleep(0.3)
        for file, content in ((staged, b"staged"), (gone, b"staged and gone"),
                              (new, b"not published"), (old, b"published"), (moved, b"moved")):
            file.seek(0)
            assert file.read() == content
    assert "new" not in bucket.objects()
    new.write(b"!")
    os.fsync(new.fileno())
    assert bucket.get("new") == b"not published!"
    staged.write(b"!")
    for file in (staged, gone, new, old, moved):
        file.close()
    assert bucket.get("new3") == b"moved"
    with open(session + "/data", "rb") as f:
        assert f.read() == b"staged!"
    wait_for(lambda: os.listdir(mount.folder + "/state/spool") == [], 10, "the spool to be empty")


def test_a_failed_write_is_still_an_error(gateway, mounts):
    """The error of a publish is repeated by the next worker."""
    mount = mounts(gateway, timeout=2)
    file = open(mount.path + "/f", "wb", buffering=0)
    file.write(b"x")
    gateway.faults({"match": {"kind": "PutObject"},
                    "action": {"error": {"status": 403, "code": "AccessDenied"}}})
    with pytest.raises(OSError):
        os.fsync(file.fileno())
    assert mount.kill_worker()
    with pytest.raises(OSError):
        file.close()


def test_workers_that_get_nowhere_end_the_mount(gateway, mounts):
    mount = mounts(gateway)
    for _ in range(40):
        if not mount.process.running():
            break
        mount.kill_worker()
        time.sleep(0.02)
    assert mount.process.wait(10) == 7
    assert "died one after another" in mount.log()
    mount.process.stop()
    mount.process = None


def test_worker_ends_when_the_supervisor_dies(gateway, mounts):
    """It finishes what it can; the next mount starts clean."""
    mount = mounts(gateway)
    file = open(mount.path + "/f", "wb", buffering=0)
    file.write(b"published by the worker that is left")
    worker = mount.worker_pid()
    os.kill(mount.process.pid, signal.SIGKILL)
    mount.process.wait(10)
    wait_for(lambda: not os.path.exists(f"/proc/{worker}"), 20, "the worker's end")
    assert gateway.bucket().get("f") == b"published by the worker that is left"
    mount.mount()
    with open(mount.path + "/f", "rb") as f:
        assert f.read() == b"published by the worker that is left"
