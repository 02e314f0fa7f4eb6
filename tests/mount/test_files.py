# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations on files and directories, each with what the bucket holds after it."""
import ctypes
import errno
import hashlib
import os
import shutil
import threading
import time

import pytest

from harness.process import wait_for

MIB = 1024 * 1024


@pytest.fixture
def mount(gateway, mounts):
    return mounts(gateway, exclusive=True)


@pytest.fixture
def bucket(gateway):
    return gateway.bucket()


def write(path, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
    fd = os.open(path, flags, 0o644)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def raises(number, fn, *args, **kwargs):
    with pytest.raises(OSError) as caught:
        fn(*args, **kwargs)
    assert caught.value.errno == number, caught.value


def rename2(old, new, flags):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, old.encode(), -100, new.encode(), flags):
        raise OSError(ctypes.get_errno(), "renameat2")


def sync_dir(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# -- writing --

def test_close_is_durable(mount, bucket):
    write(mount.path + "/f", b"hello")
    assert bucket.get("f") == b"hello"


def test_fsync_is_durable_and_close_adds_nothing(gateway, mount, bucket):
    fd = os.open(mount.path + "/f", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"one")
    os.fsync(fd)
    assert bucket.get("f") == b"one"
    gateway.reset_counters()
    os.fsync(fd)
    os.close(fd)
    assert gateway.counters()["total"] == 0


def test_empty_file_is_published_on_release(mount, bucket):
    write(mount.path + "/empty", b"")
    wait_for(lambda: bucket.objects() == {"empty": 0}, 10, "the empty object")


def test_shell_redirection_publishes_once(gateway, mount, bucket):
    gateway.reset_counters()
    assert os.system(f"echo hello > {mount.path}/f") == 0
    assert bucket.get("f") == b"hello\n"
    assert gateway.counters().get("PutObject", 0) == 1


def test_old_content_until_published(mount, bucket):
    write(mount.path + "/f", b"old")
    fd = os.open(mount.path + "/f", os.O_WRONLY | os.O_TRUNC)
    os.write(fd, b"new content")
    assert bucket.get("f") == b"old"
    assert read(mount.path + "/f") == b"new content"
    os.close(fd)
    assert bucket.get("f") == b"new content"


def test_append_and_middle(mount, bucket):
    path = mount.path + "/f"
    write(path, b"0123456789")
    write(path, b"ABC", os.O_WRONLY | os.O_APPEND)
    assert bucket.get("f") == b"0123456789ABC"
    fd = os.open(path, os.O_RDWR)
    os.pwrite(fd, b"xx", 3)
    os.pwrite(fd, b"end", 20)
    os.close(fd)
    assert bucket.get("f") == b"012xx56789ABC" + bytes(7) + b"end"


def test_append_to_an_object_that_is_not_cached(gateway, mounts, bucket):
    bucket.create()
    old = os.urandom(3 * MIB + 17)
    bucket.put("f", old)
    mount = mounts(gateway)
    write(mount.path + "/f", b"more", os.O_WRONLY | os.O_APPEND)
    assert bucket.get("f") == old + b"more"


def test_o_sync(mount, bucket):
    fd = os.open(mount.path + "/f", os.O_WRONLY | os.O_CREAT | os.O_SYNC)
    os.write(fd, b"now")
    assert bucket.get("f") == b"now"
    os.close(fd)


def test_o_excl(mount):
    write(mount.path + "/f", b"x")
    raises(errno.EEXIST, os.open, mount.path + "/f", os.O_CREAT | os.O_EXCL)


def test_truncate_by_path_is_durable(mount, bucket):
    write(mount.path + "/f", b"0123456789")
    os.truncate(mount.path + "/f", 4)
    assert bucket.get("f") == b"0123"
    os.truncate(mount.path + "/f", 6)
    assert bucket.get("f") == b"0123\0\0"
    os.truncate(mount.path + "/f", 0)
    assert bucket.get("f") == b""


def test_multipart(gateway, mounts, bucket):
    mount = mounts(gateway, part_size="5M")
    data = os.urandom(23 * MIB + 1)
    gateway.reset_counters()
    write(mount.path + "/big", data)
    counters = gateway.counters()
    assert bucket.get("big") == data
    assert counters.get("UploadPart") == 5
    assert counters.get("CompleteMultipartUpload") == counters.get("CreateMultipartUpload") == 1
    assert bucket.uploads() == []
    assert read(mount.path + "/big") == data


def test_write_while_it_is_uploaded(gateway, mount, bucket):
    """What fsync has acknowledged is whole, whatever is written meanwhile."""
    path = mount.path + "/f"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(fd, b"a" * 100_000)
    gateway.settings(latency_ms=300)
    syncing = threading.Thread(target=os.fsync, args=(fd,))
    syncing.start()
    time.sleep(0.1)
    os.pwrite(fd, b"b" * 100_000, 0)
    syncing.join(20)
    assert bucket.get("f") == b"a" * 100_000
    os.close(fd)
    assert bucket.get("f") == b"b" * 100_000


# -- reading --

def test_parallel_ranges_of_a_large_object(gateway, mounts, bucket):
    bucket.create()
    data = os.urandom(40 * MIB + 5)
    bucket.put("big", data)
    mount = mounts(gateway)
    assert hashlib.sha256(read(mount.path + "/big")).digest() == hashlib.sha256(data).digest()
    gateway.reset_counters()
    assert read(mount.path + "/big") == data
    assert gateway.counters().get("GetObject", 0) == 0


def test_one_fetch_for_many_readers(gateway, mounts, bucket):
    bucket.create()
    data = os.urandom(MIB)
    bucket.put("f", data)
    mount = mounts(gateway)
    gateway.settings(latency_ms=200)
    gateway.reset_counters()
    got = []
    threads = [threading.Thread(target=lambda: got.append(read(mount.path + "/f")))
               for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == [data] * 20
    assert gateway.counters()["bytes_out"] < 2 * MIB


def test_slow_reads_do_not_starve_stats(gateway, mounts, bucket):
    bucket.create()
    for i in range(80):
        bucket.put(f"slow/{i}", b"x" * 10)
    mount = mounts(gateway, exclusive=True)
    os.listdir(mount.path + "/slow")
    os.listdir(mount.path)
    gateway.faults({"match": {"kind": "GetObject"}, "action": {"latency_ms": 4000}})
    threads = [threading.Thread(target=read, args=(f"{mount.path}/slow/{i}",)) for i in range(80)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    begin = time.monotonic()
    for i in range(80):
        os.stat(f"{mount.path}/slow/{i}")
    took = time.monotonic() - begin
    gateway.faults()
    for thread in threads:
        thread.join(60)
    assert took < 3, f"80 known stats waited {took:.1f} s behind 80 slow reads"


def test_read_of_a_replaced_object(gateway, mounts, bucket):
    bucket.create()
    bucket.put("f", b"first version")
    mount = mounts(gateway, meta_ttl=0)
    assert read(mount.path + "/f") == b"first version"
    bucket.put("f", b"second")
    assert read(mount.path + "/f") == b"second"


# -- names --

def test_unlink_and_rename_while_open(mount, bucket):
    for name in ("a", "b", "c"):
        write(f"{mount.path}/{name}", name.encode() * 10)
    unlinked = os.open(mount.path + "/a", os.O_RDONLY)
    replaced = os.open(mount.path + "/b", os.O_RDONLY)
    moved = os.open(mount.path + "/c", os.O_RDWR)
    os.unlink(mount.path + "/a")
    os.rename(mount.path + "/c", mount.path + "/b")
    assert os.read(unlinked, 100) == b"a" * 10
    assert os.read(replaced, 100) == b"b" * 10
    os.pwrite(moved, b"XX", 0)
    for fd in (unlinked, replaced, moved):
        os.close(fd)
    sync_dir(mount.path)
    assert bucket.objects() == {"b": 10}
    assert bucket.get("b") == b"XX" + b"c" * 8


def test_rename_is_a_copy_and_a_delete(gateway, mount, bucket):
    write(mount.path + "/a", b"content")
    gateway.reset_counters()
    os.rename(mount.path + "/a", mount.path + "/b")
    assert read(mount.path + "/b") == b"content"
    sync_dir(mount.path)
    counters = gateway.counters()
    assert counters.get("CopyObject") == 1 and counters.get("PutObject", 0) == 0
    assert bucket.objects() == {"b": 7}


def test_rename_where_the_gateway_does_not_copy(gateway, mount, bucket):
    gateway.faults({"match": {"kind": "CopyObject"},
                    "action": {"error": {"status": 501, "code": "NotImplemented"}}})
    for name in ("a", "b"):
        write(f"{mount.path}/{name}", name.encode())
        os.rename(f"{mount.path}/{name}", f"{mount.path}/{name}{name}")
    sync_dir(mount.path)
    assert bucket.objects() == {"aa": 1, "bb": 1}
    assert bucket.get("aa") == b"a"


def test_rename_and_make_anew_at_once(mount, bucket):
    """The rename's delete must not take what was made under the old name."""
    for i in range(20):
        write(mount.path + "/a", f"first {i}".encode())
        os.rename(mount.path + "/a", mount.path + "/b")
        write(mount.path + "/a", f"second {i}".encode())
        sync_dir(mount.path)
        assert bucket.get("a") == f"second {i}".encode()
        assert bucket.get("b") == f"first {i}".encode()


def test_rename_flags_and_directories(mount):
    write(mount.path + "/a", b"a")
    write(mount.path + "/b", b"b")
    os.makedirs(mount.path + "/d/e")
    write(mount.path + "/d/e/f", b"f")
    raises(errno.EEXIST, rename2, mount.path + "/a", mount.path + "/b", 1)  # NOREPLACE
    raises(errno.EINVAL, rename2, mount.path + "/a", mount.path + "/b", 2)  # EXCHANGE
    raises(errno.EXDEV, os.rename, mount.path + "/d", mount.path + "/g")
    raises(errno.EISDIR, os.rename, mount.path + "/a", mount.path + "/d")
    assert os.system(f"mv {mount.path}/d {mount.path}/g") == 0  # copies
    assert read(mount.path + "/g/e/f") == b"f"
    assert not os.path.exists(mount.path + "/d")


def test_unlink_reaches_the_bucket(mount, bucket):
    write(mount.path + "/f", b"x")
    os.unlink(mount.path + "/f")
    raises(errno.ENOENT, os.stat, mount.path + "/f")
    sync_dir(mount.path)
    assert bucket.objects() == {}


def test_a_write_takes_the_place_of_a_delete(mount, bucket):
    for i in range(30):
        write(mount.path + "/f", f"{i}".encode())
        os.unlink(mount.path + "/f")
        write(mount.path + "/f", f"again {i}".encode())
        assert bucket.get("f") == f"again {i}".encode()
    sync_dir(mount.path)
    assert bucket.get("f") == b"again 29"


def test_directories(gateway, mount, bucket):
    gateway.reset_counters()
    os.makedirs(mount.path + "/a/b/c")
    assert gateway.counters().get("PutObject", 0) == 0
    raises(errno.ENOTEMPTY, os.rmdir, mount.path + "/a")
    os.rmdir(mount.path + "/a/b/c")
    assert os.listdir(mount.path + "/a/b") == []
    sync_dir(mount.path + "/a/b")
    assert bucket.objects() == {"a/b/": 0}
    os.rmdir(mount.path + "/a/b")
    sync_dir(mount.path + "/a")
    assert bucket.objects() == {"a/": 0}


def test_empty_directory_survives_by_its_marker(gateway, mounts, bucket):
    first = mounts(gateway)
    os.makedirs(first.path + "/kept/below")
    write(first.path + "/full", b"x")
    first.unmount()
    assert sorted(bucket.objects()) == ["full", "kept/below/"]
    assert os.listdir(mounts(gateway).path + "/kept") == ["below"]


def test_dirmarkers_always_and_never(gateway, mounts, bucket):
    always = mounts(gateway, dirmarkers="always")
    os.makedirs(always.path + "/a/b")
    os.makedirs(always.path + "/docker/registry/v2/blobs")
    assert sorted(bucket.objects()) == ["a/", "a/b/", "docker/", "docker/registry/"]
    always.unmount()
    never = mounts(gateway, dirmarkers="never")
    os.mkdir(never.path + "/n")
    sync_dir(never.path + "/n")
    never.unmount()
    assert "n/" not in bucket.objects()


def test_skeleton_directories_cost_nothing(gateway, mounts, bucket):
    mount = mounts(gateway)
    os.makedirs(mount.path + "/docker/registry/v2/repositories/a/_layers/sha256")
    mount.unmount()
    assert not [key for key in bucket.objects() if "repositories" in key]


def test_readdir_of_many(gateway, mounts, bucket):
    bucket.create()
    names = [f"file-{i:04}" for i in range(2300)]
    for name in names:
        bucket.put("d/" + name, b"")
    mount = mounts(gateway)
    gateway.reset_counters()
    assert sorted(os.listdir(mount.path + "/d")) == names
    assert sum(1 for e in os.scandir(mount.path + "/d") if e.stat().st_size == 0) == 2300
    assert gateway.counters()["total"] <= 8


def test_a_listing_that_fails_is_no_short_listing(gateway, mounts, bucket):
    bucket.create()
    for i in range(1500):
        bucket.put(f"d/{i}", b"")
    mount = mounts(gateway, timeout=2)
    gateway.faults({"match": {"kind": "ListObjectsV2", "key": "*"}, "skip": 2,
                    "action": {"error": {"status": 500, "code": "InternalError"}}})
    raises(errno.EIO, os.listdir, mount.path + "/d")
    gateway.faults()
    assert len(os.listdir(mount.path + "/d")) == 1500


def test_names(mount, bucket):
    names = ["a b", "ü", "%41", "a+b", "&amp;<>\"'", "~tilde", "#hash?query=1", "a\nb", "日本"]
    for name in names:
        write(f"{mount.path}/{name}", name.encode())
    assert sorted(bucket.objects()) == sorted(names)
    assert sorted(os.listdir(mount.path)) == sorted(names)
    for name in names:
        assert bucket.get(name) == name.encode()


def test_names_too_long(mount):
    raises(errno.ENAMETOOLONG, write, f"{mount.path}/{'x' * 256}", b"")
    deep = mount.path + ("/" + "d" * 200) * 5
    os.makedirs(deep)
    raises(errno.ENAMETOOLONG, write, f"{deep}/{'x' * 100}", b"")


def test_keys_that_cannot_be_names(gateway, mounts, bucket):
    bucket.create()
    for key in ("good", "a//b", "x" * 300, "both", "both/below"):
        bucket.put(key, b"x")
    mount = mounts(gateway)
    assert sorted(os.listdir(mount.path)) == ["a", "both", "good"]
    assert os.path.isdir(mount.path + "/both")  # the directory wins
    assert os.listdir(mount.path + "/a") == []
    assert mount.log().count("it is hidden") == 1


# -- attributes --

def test_mtime_is_kept(gateway, mounts, bucket):
    mount = mounts(gateway)
    write(mount.path + "/f", b"x")
    os.utime(mount.path + "/f", ns=(0, 1_234_567_890_123_456_789))
    assert bucket.head("f")["Metadata"]["mtime"].startswith("1234567890.123456789")
    assert os.stat(mount.path + "/f").st_mtime_ns == 1_234_567_890_123_456_789
    assert bucket.get("f") == b"x"
    assert os.stat(mounts(gateway).path + "/f").st_size == 1


def test_what_is_not_stored_is_refused(mount):
    path = mount.path + "/f"
    write(path, b"x")
    mode = os.stat(path).st_mode & 0o777
    os.chmod(path, mode)  # changes nothing
    raises(errno.EPERM, os.chmod, path, 0o600)
    raises(errno.EPERM, os.chown, path, 12345, -1)
    raises(errno.EPERM, os.link, path, path + "2")
    raises(errno.EPERM, os.symlink, path, path + "3")
    raises(errno.ENOTSUP, os.setxattr, path, "user.a", b"b")


def test_owner_and_modes(gateway, mounts):
    mount = mounts(gateway, uid=1234, gid=2345, umask="027", allow_other=True)
    write(mount.path + "/f", b"x")
    os.mkdir(mount.path + "/d")
    st = os.stat(mount.path + "/f")
    assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (1234, 2345, 0o640)
    assert os.stat(mount.path + "/d").st_mode & 0o7777 == 0o750


def test_statfs(mount):
    st = os.statvfs(mount.path)
    assert st.f_bavail * st.f_frsize > 10**15
    assert st.f_namemax == 255


# -- when things fail --

def test_quota(gateway, mounts, bucket):
    mount = mounts(gateway)
    write(mount.path + "/f", b"old")
    gateway.faults({"match": {"kind": "PutObject"},
                    "action": {"error": {"status": 403, "code": "StorageLimitExceeded"}}})
    fd = os.open(mount.path + "/f", os.O_WRONLY | os.O_TRUNC)
    os.write(fd, b"new")
    raises(errno.EDQUOT, os.fsync, fd)
    raises(errno.EDQUOT, os.close, fd)  # repeated
    gateway.faults()
    assert bucket.get("f") == b"old"
    assert read(mount.path + "/f") == b"old"  # discarded
    write(mount.path + "/f", b"newer")
    assert bucket.get("f") == b"newer"


def test_gateway_gone_and_back(gateway, mounts, bucket):
    mount = mounts(gateway, timeout=2, meta_ttl=1)
    write(mount.path + "/cached", b"here")
    os.listdir(mount.path)
    gateway.stop()
    time.sleep(1.2)  # past its time
    assert read(mount.path + "/cached") == b"here"
    with pytest.raises(OSError) as caught:
        write(mount.path + "/new", b"x")
    assert caught.value.errno in (errno.EIO, errno.ETIMEDOUT)
    gateway.start()
    write(mount.path + "/new", b"x")
    assert bucket.get("new") == b"x"


@pytest.mark.parametrize("options", [{}, {"exclusive": True}, {"shared": True}])
def test_sessions_left_behind_hide_nothing(gateway, mounts, bucket, options):
    """A session in the state directory does not make its parents local."""
    bucket.create()
    repository = "docker/registry/v2/repositories/app"
    bucket.put(repository + "/_manifests/tags/v1/current/link", b"sha256:" + b"a" * 64)
    mount = mounts(gateway, **options)
    session = f"{mount.path}/{repository}/_uploads/1"
    os.makedirs(session)
    write(session + "/startedat", b"now")
    mount.unmount()
    shutil.rmtree(mount.folder + "/cache")
    mount.mount()
    assert read(f"{mount.path}/{repository}/_manifests/tags/v1/current/link")
    assert read(session + "/startedat") == b"now"
    assert sorted(os.listdir(f"{mount.path}/{repository}")) == ["_manifests", "_uploads"]


def test_wrong_bytes_from_the_gateway_are_not_kept(gateway, mounts, bucket):
    """A blob that does not hash to its name is dropped from the cache."""
    bucket.create()
    data = os.urandom(300_000)
    digest = hashlib.sha256(data).hexdigest()
    key = f"docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"
    bucket.put(key, data[:-1] + b"?")
    mount = mounts(gateway, exclusive=True)
    read(f"{mount.path}/{key}")
    wait_for(lambda: "dropped from the cache" in mount.log(), 10, "the check of the blob")


def test_wrong_bytes_for_a_blob_are_refused(mount, bucket):
    digest = hashlib.sha256(b"right").hexdigest()
    folder = f"{mount.path}/docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}"
    os.makedirs(folder)
    raises(errno.EIO, write, folder + "/data", b"wrong")
    assert bucket.objects() == {}
    assert os.listdir(folder) == []
    write(folder + "/data", b"right")
    assert list(bucket.objects().values()) == [5]
