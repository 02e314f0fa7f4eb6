# SPDX-License-Identifier: GPL-3.0-or-later
"""A stock registry and real clients, while the worker is killed every second."""
import time

from harness.images import KIB, MIB
from harness.registry import on_directory

SECONDS = 12


def test_push_and_pull_while_the_worker_dies(gateway, mounts, killers, registries, images):
    """Not one error in a client, and every digest matches."""
    mount = mounts(gateway)
    registry = registries(on_directory(mount.path))
    gateway.settings(latency_ms=10)
    killer = killers(mount, "registry", least_s=0.9, most_s=1.1)
    end, pushed = time.monotonic() + SECONDS, []
    while time.monotonic() < end:
        number = len(pushed)
        image = images([70 * MIB if number % 3 == 0 else 12 * MIB, 2 * MIB, 300 * KIB, 5 * KIB], number)
        registry.push(image, f"app{number % 2}", f"v{number}")
        registry.pull(image, f"app{number % 2}", f"v{number}")
        pushed.append(image)
    assert killer.stop() >= SECONDS - 4
    assert len(pushed) >= 3
    mount.unmount()
    assert gateway.bucket().uploads() == []
    fresh = mounts(gateway)
    again = registries(on_directory(fresh.path))
    for number, image in enumerate(pushed):
        again.pull(image, f"app{number % 2}", f"v{number}")
