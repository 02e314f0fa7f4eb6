# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads never wait for each other: the rename that starts one returns at once."""
import hashlib
import os
import threading
import time
import uuid

ROOT = "docker/registry/v2/"
DELAY = 2.0  # of each PUT, at the gateway


def sync_dir(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def put(path, data, sync=True):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.ftruncate(fd, 0)
        os.write(fd, data)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def push_v2(root, name, data):
    """registry 2.8, system call by system call; returns how long the rename took."""
    digest = hashlib.sha256(data).hexdigest()
    session = f"{root}/{ROOT}repositories/{name}/_uploads/{uuid.uuid4()}"
    put(session + "/startedat", b"2026-01-01T00:00:00Z")
    put(session + "/data", data)
    target = f"{root}/{ROOT}blobs/sha256/{digest[:2]}/{digest}/data"
    os.makedirs(os.path.dirname(target), exist_ok=True)
    begin = time.monotonic()
    os.rename(session + "/data", target)
    took = time.monotonic() - begin
    put(f"{root}/{ROOT}repositories/{name}/_layers/sha256/{digest}/link", b"sha256:" + digest.encode())
    os.unlink(session + "/startedat")
    os.rmdir(session)
    return took


def put_v3(path, data):
    """registry 3: written aside, renamed, and the directory fsynced."""
    temporary = f"{path}.{uuid.uuid4()}.tmp"
    put(temporary, data)
    begin = time.monotonic()
    os.rename(temporary, path)
    took = time.monotonic() - begin
    sync_dir(os.path.dirname(path))
    return took


def push_v3(root, name, data):
    digest = hashlib.sha256(data).hexdigest()
    session = f"{root}/{ROOT}repositories/{name}/_uploads/{uuid.uuid4()}"
    os.makedirs(session)
    put_v3(session + "/startedat", b"2026-01-01T00:00:00Z")
    put(session + "/data", data)
    target = f"{root}/{ROOT}blobs/sha256/{digest[:2]}/{digest}/data"
    os.makedirs(os.path.dirname(target), exist_ok=True)
    begin = time.monotonic()
    os.rename(session + "/data", target)
    took = time.monotonic() - begin
    link = f"{root}/{ROOT}repositories/{name}/_layers/sha256/{digest}/link"
    os.makedirs(os.path.dirname(link), exist_ok=True)
    return max(took, put_v3(link, b"sha256:" + digest.encode()))


def ten_at_once(gateway, mounts, push):
    mount = mounts(gateway, exclusive=True)
    gateway.faults({"match": {"kind": "PutObject"}, "action": {"latency_ms": int(DELAY * 1000)}})
    renames, stats, blobs = [], [], [os.urandom(50_000) for _ in range(10)]
    threads = [threading.Thread(
        target=lambda i=i: renames.append(push(mount.path, f"r{i}", blobs[i])))
        for i in range(10)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        at = time.monotonic()
        os.path.exists(f"{mount.path}/{ROOT}blobs/sha256")
        stats.append(time.monotonic() - at)
        time.sleep(0.05)
    took = time.monotonic() - begin
    gateway.faults()
    assert len(renames) == 10
    # A push is two PUTs in a row, blob then link; one behind the other ten
    # would be 20 of them.
    assert took < 6 * DELAY, f"ten pushes took {took:.1f} s"
    assert max(renames) < DELAY, f"a rename waited {max(renames):.1f} s for an upload"
    assert max(stats) < DELAY, f"a stat waited {max(stats):.1f} s"
    keys = gateway.bucket().objects()
    assert not [key for key in keys if "_uploads" in key or ".tmp" in key]
    for blob in blobs:
        digest = hashlib.sha256(blob).hexdigest()
        assert keys[f"{ROOT}blobs/sha256/{digest[:2]}/{digest}/data"] == len(blob)
        assert sum(digest in key and key.endswith("/link") for key in keys) == 1


def test_ten_slow_uploads_as_v2(gateway, mounts):
    ten_at_once(gateway, mounts, push_v2)


def test_ten_slow_uploads_as_v3(gateway, mounts):
    ten_at_once(gateway, mounts, push_v3)


def test_a_link_waits_for_its_blob(gateway, mounts):
    """Promise 2, seen from the bucket: never a link without its blob."""
    mount = mounts(gateway)
    gateway.faults({"match": {"kind": "PutObject", "key": "*/data"},
                    "action": {"latency_ms": 1500}})
    data = os.urandom(10_000)
    thread = threading.Thread(target=push_v2, args=(mount.path, "r", data))
    thread.start()
    bucket, seen = gateway.bucket(), []
    while thread.is_alive():
        keys = bucket.objects()
        seen.append(keys)
        assert not any(k.endswith("/link") for k in keys) or any(k.endswith("/data") for k in keys)
        time.sleep(0.1)
    assert any(not keys for keys in seen)
    assert len(bucket.objects()) == 2
