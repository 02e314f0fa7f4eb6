# SPDX-License-Identifier: GPL-3.0-or-later
"""Registries on mounts, on either server."""
import pytest

from harness.registry import on_directory


@pytest.fixture(params=["gateway", "radosgw"])
def server(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def bucket_name(request):
    """A bucket for each test: radosgw lives for the whole session."""
    return "t-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:50].strip("-")


@pytest.fixture
def on_mount(mounts, registries, bucket_name):
    """on_mount(server, **options) -> a mount and a registry on it."""
    def make(server, **options):
        mount = mounts(server, bucket_name, **options)
        return mount, registries(on_directory(mount.path))
    yield make
