# SPDX-License-Identifier: GPL-3.0-or-later
"""Random operations: the mount does what a local disk does, and the bucket has it."""
import os

import pytest
from randomops import RandomOps, tree

STEPS = int(os.environ.get("TARDIGRADEFS_RANDOM_STEPS", "1500"))


def with_contents(found):
    """Files, and the directories that hold some: what another mount is sure to see."""
    files = {path: what for path, what in found.items() if what != "dir"}
    dirs = {os.path.dirname(path) for path in files}
    return {**files, **{d: "dir" for d in dirs if d}}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mode", ["default", "exclusive", "shared"])
def test_same_as_a_disk(gateway, mounts, folder, seed, mode):
    options = {} if mode == "default" else {mode: True}
    mount = mounts(gateway, dirmarkers="never" if seed % 2 else "lazy", **options)
    os.mkdir(folder + "/disk")
    RandomOps(f"{mode}{seed}", folder + "/disk", mount.path).run(STEPS)
    mount.unmount()
    fresh = mounts(gateway)  # with an empty cache and state of its own
    found = tree(fresh.path)
    assert with_contents(found) == with_contents(tree(folder + "/disk"))
    assert gateway.bucket().uploads() == []
