# SPDX-License-Identifier: GPL-3.0-or-later
"""A bucket as another client sees it: boto3, which no one here wrote."""
import os

from .process import TLS_VARIABLES

ACCESS_KEY = "AKTEST"
SECRET_KEY = "SKTEST0123456789"


def credentials():
    return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}


class Bucket:
    def __init__(self, endpoint, name):
        for variable in TLS_VARIABLES:
            os.environ.pop(variable, None)
        import boto3
        from botocore.config import Config
        self.endpoint, self.name = endpoint, name
        self.s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1",
                               aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
                               config=Config(s3={"addressing_style": "path"},
                                             retries={"max_attempts": 2}))

    def create(self):
        self.s3.create_bucket(Bucket=self.name)
        return self

    def put(self, key, data, **more):
        self.s3.put_object(Bucket=self.name, Key=key, Body=data, **more)

    def get(self, key):
        return self.s3.get_object(Bucket=self.name, Key=key)["Body"].read()

    def head(self, key):
        return self.s3.head_object(Bucket=self.name, Key=key)

    def delete(self, key):
        self.s3.delete_object(Bucket=self.name, Key=key)

    def objects(self):
        """key -> size, of everything."""
        found, token = {}, None
        while True:
            more = {"ContinuationToken": token} if token else {}
            page = self.s3.list_objects_v2(Bucket=self.name, **more)
            found.update({o["Key"]: o["Size"] for o in page.get("Contents", [])})
            token = page.get("NextContinuationToken")
            if not token:
                return found

    def uploads(self):
        """Multipart uploads that were begun and not ended."""
        page = self.s3.list_multipart_uploads(Bucket=self.name)
        return [u["Key"] for u in page.get("Uploads", [])]
