"""An S3 that runs here (moto's server, with fsspec's real client before it), and that can be away for a while."""

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from frostline.trainables._storage import Store

BUCKET = "frostline-tests"


class S3:
    """The server; its objects outlive it."""

    def __init__(self) -> None:
        self._server = self._serve(0)
        host, self._port = self._server.get_host_and_port()
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://{host}:{self._port}",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "2",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "127.0.0.1",
        }

    def _serve(self, port: int) -> ThreadedMotoServer:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        server.start()
        return server

    def stop(self) -> None:
        """From now on nobody answers."""
        assert self._server._server
        self._server.stop()
        self._server._server.server_close()

    def start(self) -> None:
        """It answers again."""
        self._server = self._serve(self._port)

    @contextmanager
    def strict(self) -> Iterator[None]:
        """Meanwhile who asks needs to be known, and to have the right; nobody is, and has."""
        self._free_requests("0")
        try:
            yield
        finally:
            self._free_requests("inf")

    def _free_requests(self, number: str) -> None:
        address = f"{self.environment['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
        request = urllib.request.Request(address, data=number.encode(), headers={"Content-Type": "text/plain"})
        urllib.request.urlopen(request).close()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    made = S3()
    yield made
    made.stop()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server, and an environment by which this process and its children find it."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    if not fsspec.filesystem("s3").exists(BUCKET):
        fsspec.filesystem("s3").mkdir(BUCKET)
    return s3_server


@pytest.fixture
def url(s3: S3, tmp_path: Path) -> str:
    """Of a run directory of the test's own."""
    return f"s3://{BUCKET}/{tmp_path.parent.name}-{tmp_path.name}/run"


@pytest.fixture
def store(url: str) -> Store:
    return Store(url)
