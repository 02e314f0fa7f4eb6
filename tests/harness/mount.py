# SPDX-License-Identifier: GPL-3.0-or-later
"""tardigradefs, mounted for real, and taken away again."""
import os
import signal
import subprocess

from .process import Process, clean_environment, run, wait_for
from .s3 import credentials

SANITIZER_MARKS = ("ERROR: AddressSanitizer", "runtime error:", "WARNING: ThreadSanitizer",
                   "ERROR: LeakSanitizer")


def binary():
    return os.environ["TARDIGRADEFS_BIN"]


def option_text(options):
    """{'a': 1, 'b': True} -> 'a=1,b'"""
    return ",".join(k if v is True else f"{k}={v}" for k, v in options.items() if v is not False)


def is_mounted(path):
    with open("/proc/self/mounts") as f:
        return any(line.split()[1] == str(path) for line in f)


class Mount:
    """A mount of `bucket` under folder/mnt, with cache and state beside it."""

    def __init__(self, folder, server, bucket="bucket", **options):
        self.folder = str(folder)
        self.server, self.source = server, bucket
        self.path = self.folder + "/mnt"
        self.options = {"endpoint": server.endpoint, "cache_dir": self.folder + "/cache",
                        "state_dir": self.folder + "/state", "mkbucket": True,
                        "cache_reserve": 0, "req_rate": 0, **options}
        os.makedirs(self.path, exist_ok=True)
        self.process = None

    def command(self):
        return [binary(), self.source, self.path, "-f", "-o", option_text(self.options)]

    def mount(self, seconds=30):
        self.process = Process(self.command(), self.folder + "/mount.log",
                               env=clean_environment(**credentials()))
        wait_for(lambda: self.usable() or not self.process.running(), seconds, "the mount")
        assert self.process.running(), self.process.log()[-4000:]
        return self

    def usable(self):
        try:
            os.statvfs(self.path)  # answered here, without the gateway
        except OSError:
            return False
        return is_mounted(self.path)

    def log(self):
        return self.process.log()

    def worker_pid(self):
        """The process that works, below the supervisor; None: there is none just now."""
        try:
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
                children = f.read().split()
        except OSError:
            return None
        return int(children[-1]) if children else None

    def kill_worker(self):
        """SIGKILL; the pid, or None if there was none to kill."""
        pid = self.worker_pid()
        try:
            if pid:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return None
        return pid

    def crash(self):
        """Both at once, as the machine's end would."""
        worker = self.worker_pid()
        os.kill(self.process.pid, signal.SIGSTOP)  # starts no other
        try:
            os.kill(worker, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def rss(self):
        """Resident memory of both processes, in MiB."""
        total = 0
        for pid in (self.process.pid, self.worker_pid()):
            with open(f"/proc/{pid}/status") as f:
                total += next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
        return total / 1024

    def abort(self):
        """The last resort against a mount that hangs."""
        device = os.minor(os.stat(self.folder).st_dev)
        with open("/proc/self/mountinfo") as f:
            for line in f:
                if line.split()[4] == self.path:
                    device = line.split()[2].split(":")[1]
        try:
            with open(f"/sys/fs/fuse/connections/{device}/abort", "w") as f:
                f.write("1")
        except OSError:
            pass

    def unmount(self, seconds=60, status=0):
        """An orderly end: asserts exit status and that no sanitizer complained."""
        if not self.process:
            return
        done = subprocess.run(["fusermount3", "-u", self.path], capture_output=True, timeout=20,
                              check=False)
        if done.returncode:
            subprocess.run(["umount", "-l", self.path], capture_output=True, timeout=20,
                           check=False)
        process, self.process = self.process, None
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process = process
            self.kill()
            raise AssertionError("the mount did not end:\n" + process.log()[-4000:]) from None
        log = process.log()
        process.stop()
        assert not any(mark in log for mark in SANITIZER_MARKS), log[-8000:]
        assert code == status, f"exit {code}\n{log[-4000:]}"

    def kill(self):
        """No questions asked; nothing is left mounted."""
        if self.process:
            self.abort()
            self.crash()
            self.process.stop(5)
            self.process = None
        if is_mounted(self.path):
            run(["umount", "-l", self.path], check=False)


def fails(arguments, env=None, timeout=60):
    """A call that must not mount: its exit status and its one line."""
    done = subprocess.run([binary(), *[str(a) for a in arguments]], timeout=timeout, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          env=clean_environment(**(credentials() if env is None else env)),
                          check=False)
    return done.returncode, done.stderr.strip()
