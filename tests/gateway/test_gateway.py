# SPDX-License-Identifier: GPL-3.0-or-later
"""The test gateway itself, by a client that no one here wrote (boto3)."""
import hashlib
import os
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError

from harness.gateway import Gateway
from harness.s3 import Bucket

MIB = 1024 * 1024


@pytest.fixture
def bucket(gateway):
    return gateway.bucket().create()


def refused(code, fn, *args, **kwargs):
    with pytest.raises(ClientError) as caught:
        fn(*args, **kwargs)
    answer = caught.value.response
    assert answer["Error"]["Code"] == code, answer
    return answer


def test_put_get_head_delete(bucket):
    data = os.urandom(300_000)
    bucket.put("a/b c+ü%", data, Metadata={"Mtime": "12.5"}, ContentType="text/x")
    assert bucket.get("a/b c+ü%") == data
    head = bucket.head("a/b c+ü%")
    assert head["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    assert head["ContentLength"] == len(data) and head["ContentType"] == "text/x"
    assert head["Metadata"] == {"mtime": "12.5"}
    bucket.delete("a/b c+ü%")
    bucket.delete("a/b c+ü%")  # again: fine
    refused("NoSuchKey", bucket.get, "a/b c+ü%")


def test_signatures(gateway, bucket):
    wrong = Bucket(gateway.endpoint, "bucket")
    import boto3
    from botocore.config import Config

    def client(access, secret):
        return boto3.client("s3", endpoint_url=gateway.endpoint, region_name="us-east-1",
                            aws_access_key_id=access, aws_secret_access_key=secret,
                            config=Config(s3={"addressing_style": "path"}))
    refused("SignatureDoesNotMatch", client("AKTEST", "x").list_objects_v2, Bucket=wrong.name)
    refused("InvalidAccessKeyId", client("other", "x").list_objects_v2, Bucket=wrong.name)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(gateway.endpoint + "/bucket", timeout=5)
    assert caught.value.code == 403


def test_ranges_and_conditions(bucket):
    bucket.put("f", b"0123456789")
    get = bucket.s3.get_object
    assert get(Bucket="bucket", Key="f", Range="bytes=2-4")["Body"].read() == b"234"
    assert get(Bucket="bucket", Key="f", Range="bytes=5-99")["Body"].read() == b"56789"
    assert get(Bucket="bucket", Key="f", Range="bytes=-3")["Body"].read() == b"789"
    refused("InvalidRange", get, Bucket="bucket", Key="f", Range="bytes=10-")
    etag = bucket.head("f")["ETag"]
    assert get(Bucket="bucket", Key="f", IfMatch=etag)["Body"].read() == b"0123456789"
    refused("PreconditionFailed", get, Bucket="bucket", Key="f", IfMatch='"other"')
    bucket.put("empty", b"")
    refused("InvalidRange", get, Bucket="bucket", Key="empty", Range="bytes=0-0")


def test_storj_listings(gateway, bucket):
    keys = {f"d/{i:04}" for i in range(1500)} | {"a", "x/y/z", "x/w"}
    for key in keys:
        bucket.put(key, b"")
    listed, token, pages = [], None, 0
    while True:
        more = {"ContinuationToken": token} if token else {}
        page = bucket.s3.list_objects_v2(Bucket="bucket", **more)
        listed += [o["Key"] for o in page["Contents"]]
        token, pages = page.get("NextContinuationToken"), pages + 1
        if not token:
            break
    assert set(listed) == keys and len(listed) == len(keys) and pages == 2
    assert listed != sorted(listed)  # the order of ciphertext
    page = bucket.s3.list_objects_v2(Bucket="bucket", Delimiter="/")
    assert {p["Prefix"] for p in page["CommonPrefixes"]} == {"d/", "x/"}
    assert [o["Key"] for o in page["Contents"]] == ["a"]
    page = bucket.s3.list_objects_v2(Bucket="bucket", Prefix="x/", Delimiter="/")
    assert [o["Key"] for o in page["Contents"]] == ["x/w"]
    refused("NotImplemented", bucket.s3.list_objects_v2, Bucket="bucket", Prefix="x")
    refused("NotImplemented", bucket.s3.list_objects_v2, Bucket="bucket", Delimiter="y")


def test_plain_s3(folder):
    server = Gateway(folder + "/plain", ["--plain-s3"]).start()
    try:
        bucket = server.bucket().create()
        for key in ("b", "a", "ab"):
            bucket.put(key, b"")
        page = bucket.s3.list_objects_v2(Bucket="bucket", Prefix="a")
        assert [o["Key"] for o in page["Contents"]] == ["a", "ab"]
    finally:
        server.stop()


def test_refused_keys(bucket):
    refused("KeyTooLongError", bucket.put, "k" * 1025, b"")
    bucket.put("k" * 1024, b"")


def test_write_conditions(bucket):
    bucket.put("f", b"x")

    def put_if_none_match(value):
        def add(params, **_kwargs):
            params["headers"]["If-None-Match"] = value
        bucket.s3.meta.events.register("before-call.s3.PutObject", add, unique_id="inm")
        try:
            bucket.put("f", b"y")
        finally:
            bucket.s3.meta.events.unregister("before-call.s3.PutObject", unique_id="inm")
    refused("PreconditionFailed", put_if_none_match, "*")
    refused("NotImplemented", put_if_none_match, '"etag"')
    assert bucket.get("f") == b"x"


def test_copy(bucket):
    bucket.put("a b", b"content", Metadata={"m": "1"})
    copy = bucket.s3.copy_object
    copy(Bucket="bucket", Key="c", CopySource={"Bucket": "bucket", "Key": "a b"})
    assert bucket.get("c") == b"content" and bucket.head("c")["Metadata"] == {"m": "1"}
    bucket.delete("a b")
    assert bucket.get("c") == b"content"
    refused("InvalidRequest", copy, Bucket="bucket", Key="c",
            CopySource={"Bucket": "bucket", "Key": "c"})
    copy(Bucket="bucket", Key="c", CopySource={"Bucket": "bucket", "Key": "c"},
         MetadataDirective="REPLACE", Metadata={"m": "2"})
    assert bucket.head("c")["Metadata"] == {"m": "2"}
    refused("NoSuchKey", copy, Bucket="bucket", Key="d", CopySource="bucket/none")


def test_multipart(bucket):
    s3, where = bucket.s3, {"Bucket": "bucket", "Key": "big"}
    upload = s3.create_multipart_upload(**where, Metadata={"m": "1"})["UploadId"]
    parts = [os.urandom(5 * MIB), os.urandom(5 * MIB), b"end"]
    etags = [s3.upload_part(**where, UploadId=upload, PartNumber=i + 1, Body=part)["ETag"]
             for i, part in enumerate(parts)]
    listed = s3.list_parts(**where, UploadId=upload)["Parts"]
    assert [p["Size"] for p in listed] == [len(p) for p in parts]
    refused("NoSuchKey", bucket.get, "big")
    assert bucket.uploads() == ["big"]

    def complete(numbers):
        return s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={
            "Parts": [{"PartNumber": n, "ETag": etags[n - 1]} for n in numbers]})
    refused("InvalidPart", complete, [1, 2])
    refused("InvalidPartOrder", complete, [2, 1, 3])
    refused("NotImplemented", s3.upload_part_copy, **where, UploadId=upload, PartNumber=4,
            CopySource="bucket/x")
    etag = complete([1, 2, 3])["ETag"].strip('"')
    assert etag.endswith("-3")
    assert bucket.get("big") == b"".join(parts) and bucket.head("big")["Metadata"] == {"m": "1"}
    assert bucket.uploads() == []
    refused("NoSuchUpload", complete, [1, 2, 3])
    upload = s3.create_multipart_upload(**where)["UploadId"]
    s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"small")
    s3.abort_multipart_upload(**where, UploadId=upload)
    s3.abort_multipart_upload(**where, UploadId=upload)  # again: fine


def test_small_parts_are_refused(bucket):
    s3, where = bucket.s3, {"Bucket": "bucket", "Key": "big"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    etags = [s3.upload_part(**where, UploadId=upload, PartNumber=n, Body=b"x")["ETag"]
             for n in (1, 2)]
    refused("EntityTooSmall", s3.complete_multipart_upload, **where, UploadId=upload,
            MultipartUpload={"Parts": [{"PartNumber": n + 1, "ETag": e}
                                       for n, e in enumerate(etags)]})


def test_delete_objects(bucket):
    for key in ("a", "b&<>", "c"):
        bucket.put(key, b"")
    bucket.s3.delete_objects(Bucket="bucket", Delete={
        "Objects": [{"Key": k} for k in ("a", "b&<>", "none")]})
    assert set(bucket.objects()) == {"c"}


def test_persistent(gateway, bucket):
    bucket.put("a/ü\nb", b"kept", Metadata={"m": "1"})
    gateway.stop()
    gateway.start()
    assert bucket.get("a/ü\nb") == b"kept"
    assert bucket.head("a/ü\nb")["Metadata"] == {"m": "1"}


def test_counters_and_faults(gateway, bucket):
    gateway.reset_counters()
    bucket.put("f", b"0123456789")
    bucket.get("f")
    counters = gateway.counters()
    assert (counters["PutObject"], counters["GetObject"], counters["total"]) == (1, 1, 2)
    assert (counters["bytes_in"], counters["bytes_out"]) == (10, 10)
    gateway.faults({"match": {"kind": "PutObject", "key": "q*"}, "skip": 1, "count": 1,
                    "action": {"error": {"status": 403, "code": "StorageLimitExceeded"}}})
    bucket.put("q1", b"")
    refused("StorageLimitExceeded", bucket.put, "q2", b"")
    bucket.put("q3", b"")
    gateway.faults({"match": {"kind": "GetObject"}, "action": {"corrupt_body": 3}})
    assert bucket.get("f") == b"0122456789"
    gateway.faults({"match": {"kind": "GetObject"}, "action": {"truncate_body": 4}})
    with pytest.raises(Exception):
        bucket.get("f")
    with pytest.raises(urllib.error.HTTPError):
        gateway.faults({"action": {"no_such_action": 1}})
    gateway.faults()
    assert bucket.get("f") == b"0123456789"
