# SPDX-License-Identifier: GPL-3.0-or-later
"""OCI image layouts of random layers, of exact sizes."""
import hashlib
import json
import os
import random

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

GZIP_MAGIC = b"\x1f\x8b\x08"
KIB, MIB = 1024, 1024 * 1024
# The image of the measurements: 12 layers, 150 MB; with its config, 13 blobs.
LAYERS_13 = [100 * MIB, 40 * MIB, 5 * MIB, 2 * MIB, MIB, 512 * KIB, 256 * KIB, 128 * KIB,
             64 * KIB, 32 * KIB, 16 * KIB, 8 * KIB]


class Image:
    """An image in an OCI layout; skopeo copies layers of this type untouched."""

    def __init__(self, folder, sizes, seed=0, tag="v1"):
        self.folder, self.tag = str(folder), tag
        self.blobs = {}  # digest -> size
        self.random = random.Random(f"{seed}/{sizes}")
        os.makedirs(self.folder + "/blobs/sha256")
        layers = [self.put_random(size) for size in sizes]
        config = self.put(json.dumps({
            "architecture": "amd64", "os": "linux", "config": {"Labels": {"seed": str(seed)}},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }).encode(), CONFIG)
        self.manifest = self.put(json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        }).encode(), MANIFEST)
        self.manifest["annotations"] = {"org.opencontainers.image.ref.name": tag}
        self.write("index.json", {"schemaVersion": 2, "manifests": [self.manifest]})
        self.write("oci-layout", {"imageLayoutVersion": "1.0.0"})

    @property
    def source(self):
        return f"oci:{self.folder}:{self.tag}"

    def write(self, name, value):
        with open(f"{self.folder}/{name}", "w") as f:
            json.dump(value, f)

    def put(self, data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        with open(f"{self.folder}/blobs/sha256/{digest}", "wb") as f:
            f.write(data)
        self.blobs[digest] = len(data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    def put_random(self, size):
        """Streamed, so that a layer of 300 MB needs no 300 MB here.  It begins like
        gzip: skopeo would compress it otherwise, to another size and digest."""
        assert size > len(GZIP_MAGIC)
        digest, left = hashlib.sha256(GZIP_MAGIC), size - len(GZIP_MAGIC)
        temporary = self.folder + "/blobs/new"
        with open(temporary, "wb") as f:
            f.write(GZIP_MAGIC)
            while left:
                piece = self.random.randbytes(min(left, 4 * MIB))
                digest.update(piece)
                f.write(piece)
                left -= len(piece)
        name = digest.hexdigest()
        os.rename(temporary, f"{self.folder}/blobs/sha256/{name}")
        self.blobs[name] = size
        return {"mediaType": LAYER, "digest": "sha256:" + name, "size": size}
