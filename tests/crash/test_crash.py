# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills under load, of the worker and of both processes; then nothing
acknowledged is lost, and nothing is left behind."""
import os
import random
import shutil
import time

import pytest
from load import Load, lost, orphans

ROUNDS = int(os.environ.get("TARDIGRADEFS_CRASH_ROUNDS", "5"))
LOADS = 3
MODES = {"default": {}, "exclusive": {"exclusive": True}, "writeback": {"writeback": True}}


def read_or_none(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except FileNotFoundError:
        return None


def check_bucket(gateway, loads, totals):
    bucket = gateway.bucket()
    keys = bucket.objects()
    wrong = lost(loads, lambda path: bucket.get(path) if path in keys else None)
    left = orphans(loads, keys) + bucket.uploads()
    totals["files compared"] += sum(len(load.allowed()) for load in loads)
    totals["lost"] += len(wrong)
    totals["orphans"] += len(left)
    assert wrong == []
    assert left == []


def check_fresh(gateway, mounts, loads):
    fresh = mounts(gateway)  # with an empty cache and state of its own
    assert lost(loads, lambda path: read_or_none(f"{fresh.path}/{path}")) == []


def check_state(mount):
    assert os.listdir(mount.folder + "/state/spool") == []


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("mode", MODES)
def test_worker_dies_under_load(gateway, mounts, killers, totals, seed, mode):
    """Takeovers: no operation fails, and all that was acknowledged is there."""
    mount = mounts(gateway, part_size="5M", **MODES[mode])
    loads = [Load(mount.path, f"{mode}{seed}-{i}") for i in range(LOADS)]
    killer = killers(mount, seed, least_s=0.15, most_s=0.5)
    for load in loads:
        load.start()
    time.sleep(ROUNDS)
    kills = killer.stop()
    for load in loads:
        assert load.is_alive(), f"an operation failed: {load.error!r}"
        load.stop()
    assert kills >= ROUNDS and all(load.rounds > 10 for load in loads)
    assert not any(load.maybe for load in loads)
    mount.unmount()
    check_bucket(gateway, loads, totals)
    check_fresh(gateway, mounts, loads)
    check_state(mount)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("mode", MODES)
def test_both_die_under_load(gateway, mounts, totals, seed, mode):
    """As when the machine goes down, but for its disk: a new mount takes up what
    is in the journal; half of the time with an empty cache."""
    choose = random.Random(f"{mode}{seed}")
    mount = mounts(gateway, part_size="5M", **MODES[mode])
    loads = []
    for number in range(ROUNDS):
        now = [Load(mount.path, f"{mode}{seed}-{number}-{i}") for i in range(LOADS)]
        loads += now
        for load in now:
            load.start()
        time.sleep(choose.uniform(0.2, 1.0))
        mount.crash()
        totals["both processes killed"] += 1
        for load in now:
            load.stop()
        if choose.random() < 0.5:
            shutil.rmtree(mount.folder + "/cache")
        mount.mount()
        assert lost(loads, lambda path: read_or_none(f"{mount.path}/{path}")) == []
    mount.unmount()
    check_bucket(gateway, loads, totals)
    check_fresh(gateway, mounts, loads)
    check_state(mount)
