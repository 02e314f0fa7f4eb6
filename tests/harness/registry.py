# SPDX-License-Identifier: GPL-3.0-or-later
"""A stock registry (Debian's docker-registry) and its clients: skopeo, plain HTTP."""
import hashlib
import json
import os
import shutil
import urllib.error
import urllib.request

from .images import MANIFEST
from .process import Process, free_port, run, wait_for
from .s3 import ACCESS_KEY, SECRET_KEY

CONFIG = """version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage:
{storage}
  delete: {{enabled: true}}
  redirect: {{disable: true}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http: {{addr: "127.0.0.1:{port}"}}
health: {{storagedriver: {{enabled: false}}}}
"""


def on_directory(path):
    return f"  filesystem: {{rootdirectory: {path}}}"


def on_s3(endpoint, bucket):
    return (f"  s3: {{accesskey: {ACCESS_KEY}, secretkey: {SECRET_KEY}, region: us-east-1, "
            f"regionendpoint: \"{endpoint}\", bucket: {bucket}, secure: false, v4auth: true, "
            "rootdirectory: /}")


class Registry:
    def __init__(self, folder, storage):
        os.makedirs(folder, exist_ok=True)
        self.port = free_port()
        self.folder, self.config = str(folder), f"{folder}/config.yml"
        with open(self.config, "w") as f:
            f.write(CONFIG.format(storage=storage, port=self.port))
        self.process = None

    def start(self):
        self.process = Process(["docker-registry", "serve", self.config],
                               self.folder + "/registry.log")
        wait_for(self.answers, 15, "the registry")
        return self

    def stop(self):
        if self.process:
            self.process.stop()
            self.process = None

    def answers(self):
        assert self.process.running(), self.process.log()[-3000:]
        try:
            return self.request("GET", "").status == 200
        except OSError:
            return False

    def garbage_collect(self, *flags, timeout=120):
        return run(["docker-registry", "garbage-collect", *flags, self.config],
                   timeout=timeout).stdout

    # -- plain HTTP --

    def request(self, method, path, data=None, headers=None):
        url = path if path.startswith("http") else f"http://127.0.0.1:{self.port}/v2/{path}"
        request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
        return urllib.request.urlopen(request, timeout=120)

    def json(self, path):
        with self.request("GET", path) as answer:
            return json.load(answer)

    def upload_blob(self, name, data):
        """The digest; urllib.error.HTTPError if the registry refuses."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        place = self.request("POST", f"{name}/blobs/uploads/", b"").headers["Location"]
        mark = "&" if "?" in place else "?"
        answer = self.request("PUT", f"{place}{mark}digest={digest}", data,
                              {"Content-Type": "application/octet-stream"})
        assert answer.status == 201
        return digest

    def blob(self, name, digest):
        with self.request("GET", f"{name}/blobs/{digest}") as answer:
            return answer.read()

    def has_manifest(self, name, reference):
        try:
            return self.request("HEAD", f"{name}/manifests/{reference}",
                                headers={"Accept": MANIFEST}).status == 200
        except urllib.error.HTTPError as e:
            assert e.code == 404, e
            return False

    def delete_manifest(self, name, digest):
        assert self.request("DELETE", f"{name}/manifests/{digest}").status == 202

    # -- skopeo --

    def reference(self, name, tag):
        return f"docker://127.0.0.1:{self.port}/{name}:{tag}"

    def push(self, image, name, tag="v1", check=True, timeout=200):
        return run(["skopeo", "copy", "--retry-times", "0", "--dest-tls-verify=false",
                    image.source, self.reference(name, tag)], timeout=timeout, check=check)

    def pull(self, image, name, tag="v1", timeout=200):
        """Pulls, and hashes every blob that came."""
        folder = f"{self.folder}/pull-{name.replace('/', '-')}-{tag}"
        shutil.rmtree(folder, ignore_errors=True)
        run(["skopeo", "copy", "--src-tls-verify=false", self.reference(name, tag),
             "dir:" + folder], timeout=timeout)
        for digest in image.blobs:
            path = f"{folder}/{digest}"
            if "sha256:" + digest == image.manifest["digest"]:
                path = folder + "/manifest.json"
            with open(path, "rb") as f:
                assert hashlib.file_digest(f, "sha256").hexdigest() == digest, path
        shutil.rmtree(folder)
