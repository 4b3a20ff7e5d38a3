"""Write to an S3 object only if nobody else has written it since it was read.

pyarrow cannot send the headers If-Match and If-None-Match, so these few requests go through botocore, which finds
credentials where pyarrow finds them.
"""

import os
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from hasse.data.errors import InputError, StoreError
from hasse.pipeline.remote.objects import CONNECT_SECONDS, SILENCE_SECONDS, Objects

CHANGED = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
ABSENT = {"NoSuchKey", "404"}


class Conflict(StoreError):
    """Another process has written the object meanwhile."""


class ConditionalObjects:
    """Objects with conditional writes. A version is an ETag; None stands for an object that does not exist."""

    def __init__(self, objects: Objects):
        self.objects = objects

    def read(self, name: str) -> tuple[bytes, str] | None:
        """The content and the version of an object, or None."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self._client.get_object(**self._place(name))
            return found["Body"].read(), found["ETag"]
        except ClientError as error:
            if _code(error) in ABSENT:
                return None
            raise self.objects.explanation(str(error)) from error
        except BotoCoreError as error:
            raise self.objects.explanation(str(error)) from error

    def write(self, name: str, content: bytes, version: str | None) -> str:
        """Replace this version; returns the new one. Raises Conflict if the object has another version."""
        from botocore.exceptions import BotoCoreError, ClientError

        condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        try:
            return self._client.put_object(**self._place(name), Body=content, **condition)["ETag"]
        except ClientError as error:
            if _code(error) not in CHANGED | ABSENT:
                raise self.objects.explanation(str(error)) from error
        except BotoCoreError as error:
            raise self.objects.explanation(str(error)) from error
        now = self.read(name)
        if now is not None and now[0] == content:  # an earlier try of this request succeeded
            return now[1]
        raise Conflict(f"{self.objects.address}/{name} was written by another process meanwhile")

    def _place(self, name: str) -> dict[str, str]:
        return {"Bucket": self.objects.bucket, "Key": f"{self.objects.base.partition('/')[2]}/{name}".lstrip("/")}

    @cached_property
    def _client(self) -> Any:
        import botocore.config
        import botocore.session

        parts = urlsplit(self.objects.uri)
        if parts.scheme != "s3":
            raise InputError(f"{self.objects.uri}: nights need writes under a condition, which only s3:// offers here")
        given = dict(parse_qsl(parts.query))
        endpoint = given.get("endpoint_override")
        if endpoint and "://" not in endpoint:
            endpoint = f"{given.get('scheme', 'https')}://{endpoint}"
        style = "path" if endpoint or self.objects.has_own_endpoint else "auto"
        config = botocore.config.Config(
            connect_timeout=CONNECT_SECONDS, read_timeout=SILENCE_SECONDS, s3={"addressing_style": style}
        )
        region = given.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        return botocore.session.get_session().create_client(
            "s3", region_name=region or "us-east-1", endpoint_url=endpoint, config=config
        )


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
