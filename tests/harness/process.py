# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes with a log file, a time limit, and an end."""
import os
import socket
import subprocess
import time

# What points TLS clients at certificates of the surrounding machine.
TLS_VARIABLES = ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE",
                 "REQUESTS_CA_BUNDLE")


def clean_environment(**more):
    env = {k: v for k, v in os.environ.items() if k not in TLS_VARIABLES}
    env.update(more)
    return env


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, seconds, what):
    """Until condition() is true; its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise TimeoutError(f"{what}: not within {seconds} s")


def run(command, timeout=120, check=True, env=None, **more):
    """A command to its end; its output is in the failure."""
    done = subprocess.run([str(c) for c in command], timeout=timeout, env=env or clean_environment(),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **more)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(str(c) for c in command)}: exit {done.returncode}\n"
                             f"{done.stdout[-4000:]}")
    return done


class Process:
    """A server: its output goes to a log file."""

    def __init__(self, command, log, env=None):
        self.command = [str(c) for c in command]
        self.log_path = str(log)
        self.log_file = open(self.log_path, "ab")
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                        stdout=self.log_file, stderr=self.log_file,
                                        env=env or clean_environment())

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process.poll() is None

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def wait(self, seconds):
        return self.process.wait(timeout=seconds)

    def stop(self, seconds=20):
        """SIGTERM, then SIGKILL; the exit status."""
        if self.running():
            self.process.terminate()
            try:
                self.process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=10)
        self.log_file.close()
        return self.process.returncode
