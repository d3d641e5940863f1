"""W&B's server as far as a search needs it: GraphQL, file streams and uploads on loopback, kept in memory.

It answers the real `wandb` client. `mode` says how: `well`, `broken` (500), `denied` (401) or `hanging` (it takes
the request and never answers).
"""

from __future__ import annotations

import gzip
import http.server
import json
import re
import threading
from dataclasses import dataclass, field
from typing import Any

ENTITY = "testers"


@dataclass
class FakeRun:
    """What arrived of one run."""

    name: str
    sweep: str | None = None
    group: str | None = None
    job_type: str | None = None
    display_name: str = ""
    project: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    opened: int = 1
    """How often a client has opened it."""
    preempting: bool = False
    exit_code: int | None = None
    """None while it runs."""

    @property
    def state(self) -> str:
        """As W&B names it."""
        if self.exit_code is None:
            return "running"
        if self.exit_code == 0:
            return "finished"
        return "preempted" if self.preempting else "failed"


class FakeWandb:
    """Use as a context manager; `environment` points a client at it."""

    def __init__(self) -> None:
        self.mode = "well"
        self.sweeps: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, FakeRun] = {}
        self.views: list[dict[str, Any]] = []
        self.artifacts: list[dict[str, Any]] = []
        self.operations: list[str] = []
        self.unknown: list[str] = []
        self.uploads: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._released = threading.Event()
        fake = self

        class Handler(_Handler):
            server_of = fake

        self._http = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def environment(self) -> dict[str, str]:
        """Variables under which a client speaks to this server."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": "k" * 40, "WANDB_ERROR_REPORTING": "false"}

    def __enter__(self) -> FakeWandb:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._released.set()
        self._http.shutdown()
        self._http.server_close()

    # --- what is asked -------------------------------------------------------------------------

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Status and JSON (or bytes) of one request."""
        if self.mode == "hanging":
            self._released.wait()
            return 500, {}
        if self.mode == "broken":
            return 500, {"error": "internal"}
        if self.mode == "denied":
            return 401, {"error": "invalid key"}
        with self._lock:
            if path.endswith("/graphql"):
                return 200, self._graphql(json.loads(body))
            if path.endswith("/file_stream"):
                return 200, self._stream(path.split("/")[-2], json.loads(body))
            if method == "PUT":
                self.uploads[path] = body
                return 200, {}
            if path in self.uploads:
                return 200, self.uploads[path]
        return 404, {}

    def _graphql(self, request: dict[str, Any]) -> dict[str, Any]:
        found = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
        name = found[1] if found else "?"
        self.operations.append(name)
        answer = getattr(self, "_on_" + re.sub("(?<!^)([A-Z])", r"_\1", name).lower(), None)
        if answer is None:
            self.unknown.append(request["query"])
            return {"errors": [{"message": f"unknown operation {name}"}]}
        return {"data": answer(request.get("variables") or {})}

    def _on_viewer(self, variables: dict[str, Any]) -> Any:
        return {
            "viewer": {
                "id": "user",
                "entity": ENTITY,
                "username": ENTITY,
                "email": "",
                "admin": False,
                "flags": "{}",
                "teams": {"edges": []},
            }
        }

    def _on_get_default_entity(self, variables: dict[str, Any]) -> Any:
        return self._on_viewer(variables)

    def _on_server_features_query(self, variables: dict[str, Any]) -> Any:
        return {"serverInfo": {"features": []}}

    def _on_upsert_sweep(self, variables: dict[str, Any]) -> Any:
        import yaml

        name = variables.get("id") or f"sweep{len(self.sweeps)}"
        sweep = self.sweeps.setdefault(name, {"project": variables["projectName"]})
        if variables.get("config"):
            sweep["config"] = yaml.safe_load(variables["config"])
        project = self._project(variables["projectName"])
        return {"upsertSweep": {"sweep": {"name": name, "project": project}, "configValidationWarnings": []}}

    def _on_run_resume_status(self, variables: dict[str, Any]) -> Any:
        project, run = self._project(variables["project"]), self.runs.get(variables["name"])
        if run is None:
            return {"model": {**project, "bucket": None}}
        run.opened, run.exit_code, run.preempting = run.opened + 1, None, False
        bucket = {
            "id": run.name,
            "name": run.name,
            "displayName": run.display_name,
            "tags": run.tags,
            "summaryMetrics": json.dumps(run.summary),
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "historyLineCount": len(run.history),
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "eventsTail": "[]",
            "wandbConfig": '{"t": 1}',
        }
        return {"model": {**project, "bucket": bucket}}

    def _on_upsert_bucket(self, variables: dict[str, Any]) -> Any:
        new = variables["name"] not in self.runs
        run = self.runs.setdefault(variables["name"], FakeRun(variables["name"]))
        run.project = variables["project"]
        run.sweep = variables.get("sweep") or run.sweep
        run.group = variables.get("groupName") or run.group
        run.job_type = variables.get("jobType") or run.job_type
        run.display_name = variables.get("displayName") or run.display_name
        run.tags = variables.get("tags") or run.tags
        if variables.get("config"):
            run.config |= {key: value["value"] for key, value in json.loads(variables["config"]).items()}
        bucket = {
            "id": run.name,
            "name": run.name,
            "displayName": run.display_name,
            "sweepName": run.sweep,
            "project": self._project(run.project),
            "historyLineCount": len(run.history),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": new}}

    def _on_create_run_files(self, variables: dict[str, Any]) -> Any:
        files = [
            {"name": name, "uploadUrl": f"{self.url}/upload/{variables['run']}/{name}"} for name in variables["files"]
        ]
        return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}

    def _on_project_internal_id(self, variables: dict[str, Any]) -> Any:
        return {"project": self._project("frostline")}

    def _on_upsert_view2(self, variables: dict[str, Any]) -> Any:
        self.views.append({**variables, "spec": json.loads(variables["spec"])})
        return {"upsertView": {"view": {"id": "view-id", "name": variables["name"]}, "inserted": True}}

    # An artifact goes up in these steps: it is made, its files are uploaded, then its manifest, and it is committed.

    def _on_artifact_type(self, variables: dict[str, Any]) -> Any:
        return {"project": {"artifact": None}}

    def _on_create_artifact(self, variables: dict[str, Any]) -> Any:
        self.artifacts.append({**variables["input"], "state": "PENDING"})
        artifact = {"id": f"artifact-{len(self.artifacts) - 1}", "state": "PENDING"}
        return {"createArtifact": {"artifact": {**artifact, "artifactSequence": {"latestArtifact": None}}}}

    def _on_create_artifact_manifest(self, variables: dict[str, Any]) -> Any:
        file = {"uploadUrl": None, "uploadHeaders": []}
        if variables["includeUpload"]:
            file["uploadUrl"] = f"{self.url}/upload/{variables['artifactID']}/manifest"
        return {"createArtifactManifest": {"artifactManifest": {"id": variables["artifactID"], "file": file}}}

    def _on_update_artifact_manifest(self, variables: dict[str, Any]) -> Any:
        file = {"uploadUrl": f"{self.url}/upload/{variables['artifactManifestID']}/manifest", "uploadHeaders": []}
        manifest = {"id": variables["artifactManifestID"], "file": file}
        return {"updateArtifactManifest": {"artifactManifest": manifest}}

    def _on_create_artifact_files(self, variables: dict[str, Any]) -> Any:
        nodes = []
        for file in variables["input"]["artifactFiles"]:
            at = f"{file['artifactID']}/{file['name']}"
            node = {"name": file["name"], "storagePath": at, "uploadUrl": f"{self.url}/upload/{at}"}
            nodes.append(
                {**node, "uploadHeaders": [], "uploadMultipartUrls": None, "artifact": {"id": file["artifactID"]}}
            )
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _on_commit_artifact(self, variables: dict[str, Any]) -> Any:
        artifact = self.artifacts[int(variables["artifactID"].split("-")[1])]
        artifact["state"] = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": artifact["digest"]}}}

    def _on_artifact_by_i_d(self, variables: dict[str, Any]) -> Any:
        made = self.artifacts[int(variables["id"].split("-")[1])]
        sequence = {"name": made["artifactCollectionName"], "project": self._project(made["projectName"])}
        nothing = ("description", "historyStep", "commitHash", "updatedAt")
        artifact = {
            **dict.fromkeys(nothing),
            "id": variables["id"],
            "artifactSequence": {"__typename": "ArtifactSequence", **sequence},
            "artifactType": {"name": made["artifactTypeName"]},
            "versionIndex": 0,
            "metadata": made["metadata"],
            "ttlIsInherited": False,
            "ttlDurationSeconds": -1,
            "tags": [],
            "aliases": [],
            "state": made["state"],
            "size": 0,
            "digest": made["digest"],
            "fileCount": 0,
            "createdAt": "2026-01-01T00:00:00",
        }
        return {"artifact": {"__typename": "Artifact", **artifact}}

    def _project(self, name: str) -> dict[str, Any]:
        return {"id": f"id-{name}", "name": name, "internalId": "7", "entity": {"id": ENTITY, "name": ENTITY}}

    def _stream(self, name: str, sent: dict[str, Any]) -> Any:
        run = self.runs[name]
        for file, chunk in sent.get("files", {}).items():
            rows = [json.loads(line) for line in chunk["content"]]
            if file == "wandb-history.jsonl":
                run.history[chunk["offset"] :] = rows
            elif file == "wandb-summary.json":
                run.summary = rows[-1]
        run.preempting = bool(sent.get("preempting", run.preempting))
        if sent.get("complete"):
            run.exit_code = int(sent["exitcode"])
        return {"limits": {}}


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client may go in the middle of an answer."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server_of: FakeWandb
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Any request with a body."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        status, content = self.server_of.answer(self.command, self.path.split("?")[0], body)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        """As with a body."""
        self.do_POST()

    def do_PUT(self) -> None:
        """As any other."""
        self.do_POST()

    def log_message(self, *arguments: Any) -> None:
        """Nothing: the terminal is the test's."""
