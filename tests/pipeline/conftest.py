import pytest

from tests.pipeline.bucket import Server


@pytest.fixture(scope="session")
def s3():
    server = Server()
    yield server
    server.server.stop()
