# SPDX-License-Identifier: GPL-3.0-or-later
"""Registries on mounts, on either server."""
import pytest

from harness.images import Image
from harness.registry import Registry, on_directory


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


@pytest.fixture(params=["gateway", "radosgw"])
def server(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def bucket_name(request):
    """A bucket for each test: radosgw lives for the whole session."""
    return "t-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:50].strip("-")


@pytest.fixture
def images(folder):
    """images(sizes, seed) -> an Image."""
    made = []

    def make(sizes, seed=0):
        made.append(Image(f"{folder}/image{len(made)}", sizes, seed))
        return made[-1]
    return make


@pytest.fixture
def on_mount(mounts, registries, bucket_name):
    """on_mount(server, **options) -> a mount and a registry on it."""
    def make(server, **options):
        mount = mounts(server, bucket_name, **options)
        return mount, registries(on_directory(mount.path))
    yield make
