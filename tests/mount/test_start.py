# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting and ending: what goes wrong before a mount gets one line and a status."""
import errno
import os
import signal
import subprocess
import time

import pytest

from harness.gateway import Gateway
from harness.mount import Mount, binary, fails, is_mounted
from harness.process import clean_environment, run, wait_for
from harness.s3 import ACCESS_KEY, SECRET_KEY, credentials

USAGE, MOUNTPOINT, CREDENTIALS, GATEWAY, LOCAL = 1, 2, 3, 4, 5


@pytest.fixture
def start(gateway, folder):
    """start(source=, point=, env=, **options): must fail; (status, line)."""
    os.mkdir(folder + "/mnt")
    gateway.bucket().create()

    def attempt(source="bucket", point=None, env=None, **options):
        point = point or folder + "/mnt"
        options = {"endpoint": gateway.endpoint, "cache_dir": folder + "/cache",
                   "state_dir": folder + "/state", **options}
        text = ",".join(k if v is True else f"{k}={v}" for k, v in options.items()
                        if v is not None)
        status, line = fails([source, point, "-o", text], env=env)
        assert not is_mounted(point)
        assert status != 0 and len(line.splitlines()) == 1, (status, line)
        return status, line
    return attempt


def check(outcome, status, *words):
    assert outcome[0] == status, outcome
    for word in words:
        assert word in outcome[1], outcome


# -- usage --

@pytest.mark.parametrize("options,word", [
    ({"nonsense": True}, "nonsense"), ({"meta_ttl": "many"}, "meta_ttl"),
    ({"meta_ttl": "86401"}, "range"), ({"part_size": "1M"}, "part_size"),
    ({"timeout": "0"}, "timeout"), ({"cache_size": "12Q"}, "cache_size"),
    ({"umask": "9"}, "umask"), ({"dirmarkers": "some"}, "dirmarkers"),
    ({"log_level": "loud"}, "log_level"), ({"connections": "-1"}, "connections"),
    ({"exclusive": True, "shared": True}, "exclude"),
    ({"prefetch": True}, "not built yet"),
    ({"metrics": "127.0.0.1:1"}, "not built yet"), ({"staging": "bucket"}, "not built yet"),
    ({"passthrough": "auto"}, "not built yet"), ({"writeback_max": "much"}, "writeback_max"),
    ({"endpoint": "ftp://x"}, "endpoint"), ({"endpoint": "nonsense"}, "endpoint"),
    ({"cafile": "/no/such.pem"}, "/no/such.pem"),
])
def test_bad_options(start, options, word):
    check(start(**options), USAGE, word)


def test_bad_arguments():
    assert fails([])[0] == USAGE
    assert fails(["bucket"])[0] == USAGE
    assert fails(["b", "/mnt"]) [0] == USAGE
    assert fails(["bucket/../x", "/mnt"])[0] == USAGE
    assert fails(["bucket", "/mnt", "more"])[0] == USAGE
    assert fails(["bucket", "/mnt", "--what"])[0] == USAGE


def test_help_and_version():
    assert "cache_reserve" in run([binary(), "--help"]).stdout
    assert "tardigradefs" in run([binary(), "--version"]).stdout


def test_environment_stands_in_for_options(start, gateway):
    env = {**credentials(), "TARDIGRADEFS_PART_SIZE": "1M"}
    check(start(env=env), USAGE, "part_size")
    env = {**credentials(), "TARDIGRADEFS_ENDPOINT": "http://127.0.0.1:1"}
    check(start(endpoint=None, env=env), GATEWAY, "127.0.0.1:1")


# -- mountpoint --

def test_mountpoint(start, folder, gateway, mounts):
    check(start(point=folder + "/missing"), MOUNTPOINT, "missing", "mkdir")
    open(folder + "/file", "w").close()
    check(start(point=folder + "/file"), MOUNTPOINT, "not a directory")
    mount = mounts(gateway)
    outcome = fails(["bucket", mount.path, "-o", f"endpoint={gateway.endpoint}"])
    check(outcome, MOUNTPOINT, "mounted already")


# -- credentials --

def test_credentials(start, folder):
    home = {"HOME": folder}
    check(start(env=home), CREDENTIALS, "AWS_ACCESS_KEY_ID")
    wrong = {**credentials(), "AWS_SECRET_ACCESS_KEY": "wrong"}
    check(start(env=wrong), CREDENTIALS, "refuses the credentials", "SignatureDoesNotMatch")
    unknown = {**credentials(), "AWS_ACCESS_KEY_ID": "unknown"}
    check(start(env=unknown), CREDENTIALS, "InvalidAccessKeyId")
    key = folder + "/passwd"
    check(start(passwd_file=key), CREDENTIALS, "passwd_file")
    with open(key, "w") as f:
        f.write(f"{ACCESS_KEY}:{SECRET_KEY}\n")
    os.chmod(key, 0o644)
    check(start(passwd_file=key), CREDENTIALS, "chmod 600")
    check(start(profile="nobody", env=home), CREDENTIALS, "credentials")


def test_credentials_from_files(gateway, folder, mounts):
    key = folder + "/passwd"
    with open(os.open(key, os.O_CREAT | os.O_WRONLY, 0o600), "w") as f:
        f.write(f"{ACCESS_KEY}:{SECRET_KEY}\n")
    mounts(gateway, passwd_file=key).unmount()
    os.mkdir(folder + "/.aws")
    with open(folder + "/.aws/credentials", "w") as f:
        f.write(f"[other]\naws_access_key_id=x\naws_secret_access_key=y\n[mine]\n"
                f"aws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = folder + "/.aws/credentials"
    try:
        mounts(gateway, profile="mine").unmount()
    finally:
        del os.environ["AWS_SHARED_CREDENTIALS_FILE"]


def test_credentials_are_read_again(gateway, folder, mounts):
    key = folder + "/passwd"

    def put(secret):
        with open(os.open(key + ".new", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as f:
            f.write(f"{ACCESS_KEY}:{secret}\n")
        os.rename(key + ".new", key)
    put(SECRET_KEY)
    mount = mounts(gateway, passwd_file=key, timeout=3)
    put("wrong")
    with pytest.raises(OSError) as caught:
        with open(mount.path + "/f", "w") as f:
            f.write("x")
    assert caught.value.errno == errno.EACCES
    put(SECRET_KEY)
    with open(mount.path + "/f", "w") as f:
        f.write("x")
    assert gateway.bucket().get("f") == b"x"


def test_virtual_host_style(gateway, mounts):
    mount = mounts(gateway, endpoint=f"http://localhost:{gateway.port}", path_style="no")
    with open(mount.path + "/a b", "w") as f:
        f.write("x")
    assert gateway.bucket().get("a b") == b"x"


def test_permissions(folder, mounts):
    server = Gateway(folder + "/gateway", ["--readonly-key", "RO:S", "--nodelete-key", "ND:S"])
    server.start()
    try:
        server.bucket().create()
        os.mkdir(folder + "/mnt")
        options = (f"endpoint={server.endpoint},cache_dir={folder}/c,state_dir={folder}/s")
        for key, word in (("RO", "may not write"), ("ND", "may not delete")):
            env = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "S"}
            outcome = fails(["bucket", folder + "/mnt", "-o", options], env=env)
            check(outcome, CREDENTIALS, word, "-o ro")
        server.bucket().put("f", b"x")
        mount = Mount(folder + "/read-only", server, mkbucket=False, ro=True)
        os.environ.update(AWS_ACCESS_KEY_ID="RO", AWS_SECRET_ACCESS_KEY="S")
        try:
            mount.process = None
            done = subprocess.run([binary(), "bucket", mount.path, "-o", options + ",ro"],
                                  env=clean_environment(), timeout=30, check=False)
        finally:
            del os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        assert done.returncode == 0
        with open(mount.path + "/f", "rb") as f:
            assert f.read() == b"x"
        with pytest.raises(OSError) as caught:
            open(mount.path + "/g", "w").close()
        assert caught.value.errno == errno.EROFS
        run(["fusermount3", "-u", mount.path])
    finally:
        server.stop()


# -- gateway --

def test_bucket_and_gateway(start, gateway):
    check(start(source="no-such-bucket"), GATEWAY, "no-such-bucket", "mkbucket")
    begin = time.monotonic()
    check(start(endpoint="http://127.0.0.1:1"), GATEWAY, "cannot reach", "127.0.0.1:1")
    assert time.monotonic() - begin < 20


def test_not_s3(start, folder):
    import http.server
    import threading
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0),
                                             http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        check(start(endpoint=f"http://127.0.0.1:{server.server_port}"), GATEWAY, "endpoint=")
    finally:
        server.shutdown()


def test_clock_skew(start, gateway):
    gateway.faults({"action": {"error": {"status": 403, "code": "RequestTimeTooSkewed"}}})
    outcome = start()
    assert "clock" in outcome[1], outcome


def test_tls(folder, mounts):
    cert, key = folder + "/cert.pem", folder + "/key.pem"
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert])
    server = Gateway(folder + "/gateway", ["--tls-cert", cert, "--tls-key", key]).start()
    try:
        time.sleep(0.5)
        os.mkdir(folder + "/mnt")
        outcome = fails(["bucket", folder + "/mnt", "-o", f"endpoint={server.endpoint},mkbucket,"
                         f"cache_dir={folder}/c,state_dir={folder}/s"])
        check(outcome, GATEWAY, "certificate", "cafile=")
        mount = mounts(server, cafile=cert)
        with open(mount.path + "/f", "w") as f:
            f.write("over TLS")
        mount.unmount()
    finally:
        server.stop()


def test_versioned_bucket_is_warned_of(gateway, mounts):
    gateway.settings(versioning=True)
    assert "versioned" in mounts(gateway).log()


# -- directories --

def test_directories(start, folder, gateway, mounts):
    open(folder + "/file", "w").close()
    check(start(cache_dir=folder + "/file/x"), LOCAL, folder + "/file")
    check(start(state_dir=folder + "/file/x"), LOCAL, folder + "/file")
    mounts(gateway, cache_dir=folder + "/c1", state_dir=folder + "/s1").unmount()
    check(start(source="bucket/prefix", cache_dir=folder + "/c1"), LOCAL, "c1", "bucket")
    check(start(source="bucket/prefix", state_dir=folder + "/s1"), LOCAL, "s1", "bucket")


def test_full_disk(start, folder):
    small = folder + "/small"
    os.mkdir(small)
    run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small])
    try:
        with open(small + "/fill", "wb") as f:
            try:
                f.write(bytes(1 << 20))
                f.flush()
            except OSError:
                pass
        check(start(state_dir=small + "/s"), LOCAL, small)
    finally:
        run(["umount", "-l", small])


def test_no_space_keeps_the_old_object(folder, gateway, mounts):
    small = folder + "/small"
    os.mkdir(small)
    run(["mount", "-t", "tmpfs", "-o", "size=24M", "tmpfs", small])
    try:
        mount = mounts(gateway, state_dir=small + "/s")
        with open(mount.path + "/f", "wb") as f:
            f.write(b"old")
        with pytest.raises(OSError) as caught:
            with open(mount.path + "/f", "wb") as f:
                f.write(os.urandom(40 << 20))
        assert caught.value.errno == errno.ENOSPC
        with open(mount.path + "/f", "rb") as f:
            assert f.read() == b"old"
        with pytest.raises(OSError):
            with open(mount.path + "/new", "wb") as f:
                f.write(os.urandom(40 << 20))
        wait_for(lambda: os.listdir(mount.path) == ["f"], 10, "the new file's end")
        mount.unmount()
    finally:
        run(["umount", "-l", small])
    assert gateway.bucket().get("f") == b"old"


def test_locked_by_another_mount(start, gateway, mounts, folder):
    mount = mounts(gateway)
    check(start(cache_dir=mount.options["cache_dir"]), LOCAL, str(mount.worker_pid()))


# -- life --

def test_background(gateway, folder):
    point = folder + "/mnt"
    os.mkdir(point)
    options = (f"endpoint={gateway.endpoint},mkbucket,cache_dir={folder}/c,state_dir={folder}/s")
    done = subprocess.run([binary(), "bucket/some/prefix", point, "-o", options], timeout=30,
                          env=clean_environment(**credentials()), check=False)
    assert done.returncode == 0
    assert is_mounted(point)  # usable when the command returns
    with open(point + "/f", "w") as f:
        f.write("x")
    with open("/proc/self/mounts") as f:
        line = next(x for x in f if x.split()[1] == point)
    assert line.split()[0] == "bucket/some/prefix" and line.split()[2] == "fuse.tardigradefs"
    assert gateway.bucket().objects() == {"some/prefix/f": 1}
    run(["fusermount3", "-u", point])
    # The next mount waits for the one that is going.
    again = subprocess.run([binary(), "bucket/some/prefix", point, "-o", options], timeout=60,
                           env=clean_environment(**credentials()), check=False)
    assert again.returncode == 0
    run(["fusermount3", "-u", point])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_finishes_and_unmounts(gateway, mounts, number):
    mount = mounts(gateway)
    root = mount.path + "/docker/registry/v2/"
    os.makedirs(root + "repositories/a/_uploads/u")
    import hashlib
    data = os.urandom(200_000)
    digest = hashlib.sha256(data).hexdigest()
    with open(root + "repositories/a/_uploads/u/data", "wb") as f:
        f.write(data)
    gateway.settings(latency_ms=1000)
    os.makedirs(f"{root}blobs/sha256/{digest[:2]}/{digest}")
    os.rename(root + "repositories/a/_uploads/u/data",
              f"{root}blobs/sha256/{digest[:2]}/{digest}/data")
    mount.process.process.send_signal(number)
    assert mount.process.wait(30) == 0
    assert not is_mounted(mount.path)
    key = f"docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"
    assert gateway.bucket().get(key) == data


def test_dead_mount_is_cleared_away(gateway, mounts):
    mount = mounts(gateway)
    with open(mount.path + "/f", "w") as f:
        f.write("x")
    mount.crash()
    with pytest.raises(OSError) as caught:
        os.listdir(mount.path)
    assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    env = clean_environment(**credentials())
    from harness.process import Process
    mount.process = Process(mount.command(), mount.folder + "/mount.log", env=env)

    def usable():
        try:
            return os.listdir(mount.path) == ["f"]
        except OSError:
            return False
    wait_for(usable, 20, "the new mount")


def test_upload_is_taken_up_by_the_next_mount(gateway, mounts):
    """Killed between the rename and the upload: the journal has it."""
    import hashlib
    mount = mounts(gateway)
    data = os.urandom(100_000)
    digest = hashlib.sha256(data).hexdigest()
    root = mount.path + "/docker/registry/v2/"
    folder = f"{root}blobs/sha256/{digest[:2]}/{digest}"
    os.makedirs(root + "repositories/a/_uploads/u")
    with open(root + "repositories/a/_uploads/u/data", "wb") as f:
        f.write(data)
    gateway.faults({"match": {"kind": "PutObject"}, "action": {"latency_ms": 3000}})
    os.makedirs(folder)
    os.rename(root + "repositories/a/_uploads/u/data", folder + "/data")
    mount.crash()
    gateway.faults()
    run(["umount", "-l", mount.path])
    time.sleep(3.5)
    gateway.bucket().delete(f"docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data")
    mount.mount()
    wait_for(lambda: len(gateway.bucket().objects()) == 1, 20, "the upload")
    with open(folder + "/data", "rb") as f:
        assert f.read() == data
    assert os.listdir(mount.options["state_dir"] + "/spool") == []
