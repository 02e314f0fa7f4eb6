# SPDX-License-Identifier: GPL-3.0-or-later
"""How many requests a push and a pull cost: counts, from the gateway itself."""
from harness.gateway import READS
from harness.images import LAYERS_13

from test_registry import contents

MULTIPART = ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")


def test_requests_of_push_and_pull(gateway, on_mount, images, bucket_name):
    image = images(LAYERS_13)
    assert len(image.blobs) == 14  # 13 blobs and the manifest
    _mount, registry = on_mount(gateway, exclusive=True)
    gateway.reset_counters()

    registry.push(image, "team/app")
    counters = gateway.counters()
    objects = len(contents(gateway.bucket(bucket_name)))
    why = f"{counters}\n{gateway.requests_log()[-6000:]}"
    assert objects == 30, why
    large = sum(size > 64 << 20 for size in image.blobs.values())
    assert counters.get("PutObject", 0) == objects - large, why
    assert [counters.get(kind, 0) for kind in MULTIPART] == [large, 2 * large, large], why
    for kind in ("CopyObject", "DeleteObject", "DeleteObjects", "AbortMultipartUpload"):
        assert counters.get(kind, 0) == 0, why
    assert sum(counters.get(kind, 0) for kind in READS) <= 10, why

    gateway.reset_counters()
    registry.push(image, "team/app")
    counters = gateway.counters()
    assert counters["total"] <= 3, counters

    gateway.reset_counters()
    registry.pull(image, "team/app")
    registry.pull(image, "team/app")
    assert gateway.counters()["total"] == 0, gateway.counters()


def test_requests_of_a_push_by_default(gateway, on_mount, images, bucket_name):
    image = images([size for size in LAYERS_13 if size <= 5 << 20])
    _mount, registry = on_mount(gateway)
    gateway.reset_counters()
    registry.push(image, "team/app")
    counters = gateway.counters()
    objects = len(contents(gateway.bucket(bucket_name)))
    assert counters.get("PutObject") == objects
    assert counters["total"] <= 2 * objects + 10, counters
