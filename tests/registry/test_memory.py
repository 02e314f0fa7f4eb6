# SPDX-License-Identifier: GPL-3.0-or-later
"""Resident memory: idle, and under eight large pushes at once."""
import threading
import time

from harness.images import MIB


def test_memory(gateway, on_mount, images):
    mount, registry = on_mount(gateway, exclusive=True)
    assert mount.rss() <= 64, f"idle: {mount.rss():.0f} MiB"
    pushed = [images([300 * MIB], seed) for seed in range(8)]
    threads = [threading.Thread(target=registry.push, args=(image, f"r{i}"))
               for i, image in enumerate(pushed)]
    highest = 0
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        highest = max(highest, mount.rss())
        time.sleep(0.1)
    assert highest <= 256, f"while eight layers were pushed: {highest:.0f} MiB"
    registry.pull(pushed[0], "r0")
