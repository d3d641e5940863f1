"""EC2's instance metadata service, version 2: the part that a spot machine asks."""

import datetime
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Amazon:
    """A local service. A PUT gives the token; without it the answer is 401, for missing entries 404."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        """Methods and paths, in order."""
        self.broken = False
        """Whether it answers 503, as EC2 does when it is asked too often."""
        self._tokens: set[str] = set()
        self._action: dict[str, Any] | None = None
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                service._note(self)
                seconds = self.headers["X-aws-ec2-metadata-token-ttl-seconds"] or ""
                if self.path != "/latest/api/token" or not seconds.isdigit() or not 1 <= int(seconds) <= 21600:
                    return self._answer(400, "")
                token = secrets.token_urlsafe(40)
                service._tokens.add(token)
                return self._answer(503 if service.broken else 200, token)

            def do_GET(self) -> None:
                service._note(self)
                if self.headers["X-aws-ec2-metadata-token"] not in service._tokens:
                    return self._answer(401, "")
                if self.path != "/latest/meta-data/spot/instance-action" or service._action is None:
                    return self._answer(404, "")
                return self._answer(200, json.dumps(service._action))

            def _answer(self, status: int, text: str) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *given: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def take(self, seconds: float) -> None:
        """From now on it says that the machine will be taken in this many seconds."""
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
        self._action = {"action": "terminate", "time": f"{until:%Y-%m-%dT%H:%M:%SZ}"}

    def _note(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(f"{request.command} {request.path}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
