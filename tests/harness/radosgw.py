# SPDX-License-Identifier: GPL-3.0-or-later
"""radosgw: a real S3 server that no one here wrote.

One monitor, one manager, one OSD in memory, one gateway, all on loopback.
"""
import os
import shutil
import urllib.request

from .process import Process, free_port, run, wait_for
from .s3 import ACCESS_KEY, SECRET_KEY, Bucket

FSID = "11111111-2222-3333-4444-555555555555"
OSD = "22222222-2222-3333-4444-555555555555"

CONFIG = """[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon2},v1:127.0.0.1:{mon1}]
public network = 127.0.0.0/8
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {dir}/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
run dir = {dir}
admin socket = {dir}/$name.$pid.asok
log file = {dir}/$name.log
[mon.a]
mon data = {dir}/mon
[osd.0]
osd objectstore = memstore
memstore device bytes = 6442450944
osd data = {dir}/osd
[mgr.x]
mgr data = {dir}/mgr
[client.rgw]
rgw data = {dir}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
"""

KEYS = {
    "client.admin": ("mon", "allow *", "osd", "allow *", "mgr", "allow *"),
    "osd.0": ("mon", "allow profile osd", "osd", "allow *", "mgr", "allow profile osd"),
    "mgr.x": ("mon", "allow profile mgr", "osd", "allow *", "mds", "allow *"),
    "client.rgw": ("mon", "allow rw", "osd", "allow rwx", "mgr", "allow rw"),
}


class RadosGateway:
    storj = False

    def __init__(self, folder):
        self.dir = str(folder)
        self.port = free_port()
        self.servers = []

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def bucket(self, name="bucket"):
        return Bucket(self.endpoint, name)

    def command(self, *words, timeout=60):
        return run([words[0], "-c", self.dir + "/ceph.conf", *words[1:]], timeout=timeout)

    def server(self, name, *words):
        self.servers.append(Process([words[0], "-c", self.dir + "/ceph.conf", "-f", *words[1:]],
                                    f"{self.dir}/{name}.out"))

    def write_config(self):
        mon2, mon1 = free_port(), free_port()
        for name in ("mon", "osd", "mgr", "rgw"):
            os.makedirs(f"{self.dir}/{name}")
        with open(self.dir + "/ceph.conf", "w") as f:
            f.write(CONFIG.format(fsid=FSID, dir=self.dir, port=self.port, mon1=mon1, mon2=mon2))
        keyring = self.dir + "/keyring"
        run(["ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap",
             "mon", "allow *"])
        for name, caps in KEYS.items():
            words = [w for pair in zip(caps[::2], caps[1::2]) for w in ("--cap", *pair)]
            run(["ceph-authtool", keyring, "--gen-key", "-n", name, *words])
        run(["monmaptool", "--create", "--addv", "a",
             f"[v2:127.0.0.1:{mon2},v1:127.0.0.1:{mon1}]", "--fsid", FSID, self.dir + "/monmap"])
        return keyring

    def start(self):
        keyring = self.write_config()
        self.command("ceph-mon", "-i", "a", "--mkfs", "--monmap", self.dir + "/monmap",
                     "--keyring", keyring)
        self.server("mon", "ceph-mon", "-i", "a")
        self.server("mgr", "ceph-mgr", "-i", "x")
        self.command("ceph", "osd", "new", OSD, "0")
        self.command("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", OSD, "--keyring", keyring)
        self.server("osd", "ceph-osd", "-i", "0")
        self.server("rgw", "radosgw", "-n", "client.rgw")
        wait_for(self.answers, 90, "radosgw")
        self.command("radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=u",
                     "--display-name=u", "--access-key=" + ACCESS_KEY,
                     "--secret-key=" + SECRET_KEY)
        return self

    def answers(self):
        assert self.servers[-1].running(), self.servers[-1].log()[-2000:]
        try:
            urllib.request.urlopen(self.endpoint, timeout=2)
            return True
        except OSError:
            return False

    def stop(self):
        for server in reversed(self.servers):
            server.stop(5)
        shutil.rmtree(self.dir, ignore_errors=True)
