# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: servers and mounts, all ended when their test is."""
import os
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from harness.gateway import Gateway  # noqa: E402
from harness.images import Image  # noqa: E402
from harness.mount import Mount  # noqa: E402
from harness.radosgw import RadosGateway  # noqa: E402
from harness.registry import Registry  # noqa: E402


@pytest.fixture
def folder():
    """A folder of the test's own; short, since sockets have short names."""
    path = tempfile.mkdtemp(prefix="tardigradefs-test-")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def gateway(folder):
    server = Gateway(folder + "/gateway").start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def radosgw():
    server = RadosGateway(tempfile.mkdtemp(prefix="tardigradefs-rgw-"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def mounts(folder):
    """mounts(server, bucket, **options) -> a Mount; unmounted at the end, in order."""
    made = []

    def make(server, bucket="bucket", **options):
        mount = Mount(f"{folder}/mount{len(made)}", server, bucket, **options)
        made.append(mount)
        return mount.mount()
    try:
        yield make
        for mount in made:
            mount.unmount()
    finally:
        for mount in made:
            mount.kill()


@pytest.fixture
def registries(folder):
    """registries(storage) -> a started Registry."""
    made = []

    def make(storage):
        registry = Registry(f"{folder}/registry{len(made)}", storage)
        made.append(registry)
        return registry.start()
    yield make
    for registry in made:
        registry.stop()


@pytest.fixture
def images(folder):
    """images(sizes, seed) -> an Image."""
    made = []

    def make(sizes, seed=0):
        made.append(Image(f"{folder}/image{len(made)}", sizes, seed))
        return made[-1]
    return make


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows the ends of the logs in the test's folder."""
    outcome = yield
    report = outcome.get_result()
    if report.when != "call" or not report.failed or "folder" not in item.funcargs:
        return
    for base, _dirs, files in os.walk(item.funcargs["folder"]):
        if "/mnt" in base or "/data" in base:
            continue
        for name in files:
            if name.endswith(".log"):
                with open(f"{base}/{name}", errors="replace") as f:
                    report.sections.append((f"{base}/{name}", f.read()[-3000:]))
