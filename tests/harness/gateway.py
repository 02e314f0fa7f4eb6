# SPDX-License-Identifier: GPL-3.0-or-later
"""The test gateway: our own S3 server with Storj's manners (tests/gateway)."""
import json
import os
import urllib.request

from .process import Process, wait_for
from .s3 import ACCESS_KEY, SECRET_KEY, Bucket

READS = ("GetObject", "HeadObject", "HeadBucket", "ListObjects", "ListObjectsV2", "ListParts",
         "ListMultipartUploads", "GetBucketVersioning", "GetBucketLocation")


class Gateway:
    storj = True  # has Storj's manners

    def __init__(self, folder, arguments=()):
        self.folder = str(folder)
        self.arguments = list(arguments)
        self.port = 0
        self.process = None
        os.makedirs(self.folder + "/data", exist_ok=True)

    def start(self):
        port_file = self.folder + "/port"
        if os.path.exists(port_file):
            os.unlink(port_file)
        self.process = Process(
            [os.environ["TARDIGRADE_GATEWAY_BIN"], "--dir", self.folder + "/data",
             "--port", self.port, "--port-file", port_file, "--access-key", ACCESS_KEY,
             "--secret-key", SECRET_KEY, *self.arguments], self.folder + "/gateway.log")
        text = wait_for(lambda: os.path.exists(port_file) and open(port_file).read().strip(), 10,
                        "the test gateway's port")
        self.port = int(text)
        wait_for(self.healthy, 10, "the test gateway")
        return self

    @property
    def scheme(self):
        return "https" if "--tls-cert" in self.arguments else "http"

    @property
    def endpoint(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def healthy(self):
        if self.scheme == "https":
            return True
        try:
            return self.control("GET", "health") is not None
        except OSError:
            return False

    def stop(self):
        if self.process:
            self.process.stop()
            self.process = None

    def bucket(self, name="bucket"):
        return Bucket(self.endpoint, name)

    # -- control --

    def control(self, method, what, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.endpoint}/_gateway/{what}", data=data,
                                         method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def counters(self):
        return json.loads(self.control("GET", "counters"))

    def reset_counters(self):
        self.control("POST", "counters/reset", {})

    def faults(self, *rules):
        """The fault script; no rule: none."""
        self.control("PUT", "faults", list(rules))

    def settings(self, **values):
        self.control("PUT", "settings", values)

    def reads(self):
        counters = self.counters()
        return sum(counters.get(kind, 0) for kind in READS)

    def requests_log(self):
        return self.control("GET", "log").decode(errors="replace")
