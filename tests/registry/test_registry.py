# SPDX-License-Identifier: GPL-3.0-or-later
"""A stock registry on the mount, real clients, both servers."""
import hashlib
import threading
import urllib.error

import pytest

from harness.images import KIB, MIB
from harness.registry import on_directory, on_s3

ROOT = "docker/registry/v2/"


def contents(bucket):
    """key -> size, without uploads under way."""
    return {k: v for k, v in bucket.objects().items() if "/_uploads/" not in k}


def expected_keys(image, name, tag="v1"):
    """Every object of an image, as distribution lays it out."""
    manifest = image.manifest["digest"][7:]
    repository = f"{ROOT}repositories/{name}/"
    keys = {f"{ROOT}blobs/sha256/{d[:2]}/{d}/data" for d in image.blobs}
    keys |= {f"{repository}_layers/sha256/{d}/link" for d in image.blobs if d != manifest}
    keys.add(f"{repository}_manifests/revisions/sha256/{manifest}/link")
    keys.add(f"{repository}_manifests/tags/{tag}/index/sha256/{manifest}/link")
    keys.add(f"{repository}_manifests/tags/{tag}/current/link")
    return keys


def test_push_pull_again_fresh(server, on_mount, mounts, registries, images, bucket_name):
    """Sizes around every border; pulled warm, and through an empty cache."""
    image = images([4 * KIB, 5 * MIB, 64 * MIB - 1, 64 * MIB, 64 * MIB + 1, 300 * MIB])
    _mount, registry = on_mount(server)
    registry.push(image, "some/name")
    bucket = server.bucket(bucket_name)
    assert set(contents(bucket)) == expected_keys(image, "some/name")
    assert bucket.uploads() == []
    for digest, size in image.blobs.items():
        assert contents(bucket)[f"{ROOT}blobs/sha256/{digest[:2]}/{digest}/data"] == size
    registry.pull(image, "some/name")
    registry.push(image, "some/name")
    registry.push(image, "other")
    assert registry.json("_catalog")["repositories"] == ["other", "some/name"]
    assert registry.json("some/name/tags/list")["tags"] == ["v1"]
    fresh = mounts(server, bucket_name)
    registries(on_directory(fresh.path)).pull(image, "some/name")


@pytest.mark.parametrize("data", [b"", b"1"], ids=["empty", "one-byte"])
def test_smallest_blobs(server, on_mount, bucket_name, data):
    """By plain HTTP: skopeo would compress them."""
    _mount, registry = on_mount(server)
    digest = registry.upload_blob("a", data)
    assert registry.blob("a", digest) == data
    hex_digest = digest[7:]
    key = f"{ROOT}blobs/sha256/{hex_digest[:2]}/{hex_digest}/data"
    assert contents(server.bucket(bucket_name))[key] == len(data)


def test_ten_pushes_at_once(server, on_mount, images, bucket_name):
    _mount, registry = on_mount(server)
    pushed = [images([300 * KIB, 20 * KIB, 7 * MIB], seed) for seed in range(10)]
    failures = []

    def push(number):
        try:
            registry.push(pushed[number], f"repository{number}")
        except AssertionError as e:
            failures.append(e)
    threads = [threading.Thread(target=push, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)
    assert not failures, failures[0]
    keys = set(contents(server.bucket(bucket_name)))
    for number, image in enumerate(pushed):
        assert expected_keys(image, f"repository{number}") <= keys
        registry.pull(image, f"repository{number}")


def test_tag_overwritten(server, on_mount, mounts, registries, images, bucket_name):
    _mount, registry = on_mount(server)
    old, new = images([10 * KIB], 1), images([11 * KIB], 2)
    registry.push(old, "app", "latest")
    registry.push(new, "app", "latest")
    registry.pull(new, "app", "latest")
    link = f"{ROOT}repositories/app/_manifests/tags/latest/current/link"
    assert server.bucket(bucket_name).get(link) == new.manifest["digest"].encode()
    fresh = registries(on_directory(mounts(server, bucket_name).path))
    fresh.pull(new, "app", "latest")


def test_delete_and_collect(server, on_mount, images, bucket_name):
    mount, registry = on_mount(server, exclusive=True)
    kept, gone = images([50 * KIB, 9], 1), images([60 * KIB, 2 * MIB], 2)
    registry.push(kept, "app", "kept")
    registry.push(gone, "app", "gone")
    registry.delete_manifest("app", gone.manifest["digest"])
    assert not registry.has_manifest("app", gone.manifest["digest"])
    registry.stop()
    registry.garbage_collect()
    registry.start()
    registry.pull(kept, "app", "kept")
    registry.stop()
    mount.unmount()  # deletes are durable then
    keys = contents(server.bucket(bucket_name))
    for digest in gone.blobs:
        assert f"{ROOT}blobs/sha256/{digest[:2]}/{digest}/data" not in keys
    for digest in kept.blobs:
        assert f"{ROOT}blobs/sha256/{digest[:2]}/{digest}/data" in keys


def test_quota_is_never_a_201(gateway, on_mount, images, bucket_name):
    _mount, registry = on_mount(gateway)
    image = images([30 * KIB, 6 * MIB])
    refuse = {"action": {"error": {"status": 403, "code": "StorageLimitExceeded"}}}
    gateway.faults({"match": {"kind": "PutObject"}, **refuse},
                   {"match": {"kind": "UploadPart"}, **refuse})
    assert registry.push(image, "app", check=False).returncode != 0
    with pytest.raises(urllib.error.HTTPError):
        registry.upload_blob("app", b"some blob")
    assert contents(gateway.bucket(bucket_name)) == {}
    gateway.faults()
    assert registry.upload_blob("app", b"some blob")
    registry.push(image, "app")
    registry.pull(image, "app")
    digest = hashlib.sha256(b"some blob").hexdigest()
    objects = contents(gateway.bucket(bucket_name))
    assert objects.pop(f"{ROOT}blobs/sha256/{digest[:2]}/{digest}/data") == 9
    assert objects.pop(f"{ROOT}repositories/app/_layers/sha256/{digest}/link") == 71
    assert set(objects) == expected_keys(image, "app")


def test_same_bucket_as_the_s3_driver(radosgw, on_mount, registries, images, bucket_name):
    """Byte for byte, in both directions."""
    image, other = images([20 * KIB, 6 * MIB, 40 * MIB], 1), images([33 * KIB], 2)
    _mount, registry = on_mount(radosgw)
    driver_bucket = radosgw.bucket(bucket_name[:40] + "-driver").create()
    driver = registries(on_s3(radosgw.endpoint, driver_bucket.name))
    registry.push(image, "app")
    driver.push(image, "app")
    ours, theirs = radosgw.bucket(bucket_name), driver_bucket
    assert contents(ours) == contents(theirs)
    for key, size in contents(ours).items():
        assert size > MIB or ours.get(key) == theirs.get(key), key

    reads_ours = registries(on_s3(radosgw.endpoint, bucket_name))
    reads_ours.pull(image, "app")
    reads_ours.push(other, "app", "second")
    _mount2, reads_theirs = on_mount(radosgw, meta_ttl=0)
    reads_theirs.pull(other, "app", "second")
    reads_theirs.pull(image, "app")
