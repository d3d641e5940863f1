"""The cloud's notice that a machine will be taken, read from local servers that act as its metadata service."""

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from frostline.search.cluster import spot
from tests.metadata import Amazon


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[Amazon]:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # metadata are never asked of a proxy
    with Amazon() as service:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.address)
        yield service


def test_ec2_says_nothing_until_it_takes_the_machine(ec2: Amazon) -> None:
    assert spot.aws() is None
    ec2.take(120)
    assert 110 < (spot.aws() or 0) <= 120
    ec2.take(-5)
    assert spot.aws() == 0
    assert ec2.asked == 3 * ["PUT /latest/api/token", "GET /latest/meta-data/spot/instance-action"]


def test_a_refusal_or_no_answer_is_an_error(monkeypatch: pytest.MonkeyPatch, ec2: Amazon) -> None:
    ec2.broken = True
    with pytest.raises(OSError, match="503"):
        spot.aws()
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="refused"):
        spot.aws()


class _Google(BaseHTTPRequestHandler):
    preempted = "FALSE"

    def do_GET(self) -> None:
        known = self.path == "/computeMetadata/v1/instance/preempted"
        status = 404 if not known else 200 if self.headers["Metadata-Flavor"] == "Google" else 403
        self.send_response(status)
        self.end_headers()
        self.wfile.write(self.preempted.encode())

    def log_message(self, format: str, *given: object) -> None:
        """Nothing."""


def test_google_announces_30_seconds_before(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Google) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{server.server_port}")
        assert spot.google() is None
        monkeypatch.setattr(_Google, "preempted", "TRUE")
        assert spot.google() == 30
        server.shutdown()


def answers(*given: object) -> Callable[..., object]:
    """A function that returns the given answers one after the other; it raises exceptions."""
    left = iter(given)

    def answer(*_: object) -> object:
        found = next(left)
        if isinstance(found, BaseException):
            raise found
        return found

    return answer


def test_ray_is_told_until_it_has_heard() -> None:
    told, pauses = [], []
    heard = answers(False, True)

    def tell(seconds: float) -> bool:
        told.append(seconds)
        return bool(heard())

    spot.wait(answers(None, OSError("no answer"), 120.0, 118.0), tell, lambda: pauses.append(time.time()))
    assert told == [120.0, 118.0]
    assert len(pauses) == 3
