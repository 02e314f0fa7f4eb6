# SPDX-License-Identifier: GPL-3.0-or-later
"""Killing workers while something goes on."""
import os
import random
import sys
import threading
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "mount"))


TOTALS = {"workers killed under load": 0, "both processes killed": 0, "files compared": 0,
          "lost": 0, "orphans": 0}


def pytest_terminal_summary(terminalreporter):
    """What README's table shows: counted by the run, printed at its end."""
    terminalreporter.write_line("crash totals: " + ", ".join(f"{n} {what}" for what, n in TOTALS.items()))


@pytest.fixture
def totals():
    return TOTALS


class Killer(threading.Thread):
    """SIGKILLs the worker of a mount, each time after a random pause."""

    def __init__(self, mount, seed, least_s=0.06, most_s=0.4):
        super().__init__(daemon=True)
        self.mount, self.random = mount, random.Random(seed)
        self.least_s, self.most_s = least_s, most_s
        self.ended = threading.Event()
        self.kills = 0

    def run(self):
        while not self.ended.wait(self.random.uniform(self.least_s, self.most_s)):
            if self.mount.kill_worker():
                self.kills += 1

    def stop(self):
        if self.ended.is_set():
            return self.kills
        self.ended.set()
        self.join(10)
        TOTALS["workers killed under load"] += self.kills
        # The last one is taken over before anybody asks for the end.
        end = time.monotonic() + 10
        while not self.mount.worker_pid() and time.monotonic() < end:
            time.sleep(0.02)
        return self.kills


@pytest.fixture
def killers():
    """killers(mount, seed, ...) -> a Killer that runs; stopped at the end."""
    made = []

    def make(mount, seed, **pauses):
        killer = Killer(mount, seed, **pauses)
        made.append(killer)
        killer.start()
        return killer
    yield make
    for killer in made:
        killer.stop()
