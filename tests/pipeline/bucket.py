"""moto's S3 server on loopback, and what a test wants to know of it or do behind our back."""

import contextlib
import logging
import re
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
from moto.server import ThreadedMotoServer
from werkzeug.serving import make_server


class Requests(logging.Handler):
    """`METHOD path` of every request that was answered; `awaited` is set by the first that holds a text."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.awaited, self.text = threading.Event(), ""

    def emit(self, record: logging.LogRecord) -> None:
        line = " ".join(re.findall(r"([A-Z]+) (/\S*) HTTP", record.getMessage())[0])
        self.seen.append(line)
        if self.text and self.text in line:
            self.awaited.set()

    def of(self, method: str) -> list[str]:
        return [line.partition(" ")[2] for line in self.seen if line.startswith(f"{method} ")]


class Unreliable:
    def __init__(self, app: Any, every: int):
        self.app, self.every, self.num_requests, self.num_failures = app, every, 0, 0
        self.server = make_server("127.0.0.1", 0, self, threaded=True)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.num_requests += 1
        if self.num_requests % self.every:
            return self.app(environ, start_response)
        self.num_failures += 1
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("503 Slow Down", [("Content-Type", "application/xml")])
        return [b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"]


class Server:
    """`client` is boto3's, so that what is looked at and damaged does not go through our own code."""

    def __init__(self) -> None:
        self.requests = Requests()
        logger = logging.getLogger("werkzeug")
        logger.handlers, logger.propagate = [self.requests], False
        logger.setLevel(logging.INFO)
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        self.server.start()
        host, port = self.server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "2",
        }
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def names(self, bucket: str) -> list[str]:
        found = self.client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return [item["Key"] for item in found if not item["Key"].endswith("/")]

    def content(self, bucket: str, name: str) -> bytes:
        return self.client.get_object(Bucket=bucket, Key=name)["Body"].read()

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Credentials are checked, and there are none that it knows."""
        self._authorise("0")
        try:
            yield
        finally:
            self._authorise("inf")

    @contextlib.contextmanager
    def unreliable(self, *, every: int) -> Iterator["Unreliable"]:
        """The same objects at another endpoint, where each so-many-th request is told to come again."""
        proxy = Unreliable(self.server._server.app, every)
        thread = threading.Thread(target=proxy.server.serve_forever)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.server.shutdown()
            thread.join()

    def _authorise(self, count: str) -> None:
        """After so many requests without a check."""
        request = urllib.request.Request(
            f"{self.endpoint}/moto-api/reset-auth", count.encode(), {"Content-Type": "text/plain"}, method="POST"
        )
        urllib.request.urlopen(request, timeout=30).close()
