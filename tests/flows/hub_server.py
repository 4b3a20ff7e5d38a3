"""A hub on loopback: the few endpoints by which huggingface_hub creates a repository and commits files to it."""

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

TOKEN = "hf_secret"
LARGE = (".safetensors", ".parquet")
"""Endings of files that are uploaded before the commit, as large files."""


class Hub:
    """Repositories as folders below `folder`; `repositories`: kind/name -> whether it is private."""

    def __init__(self, folder: Path):
        self.folder, self.repositories, self.large, self.commits = folder, {}, {}, []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def environment(self, token: str = TOKEN) -> dict[str, str]:
        return {
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": token,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        kind, name = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/?]+)(?:\?.*)?", self.path).groups()  # type: ignore[union-attr]
        if f"{kind}/{name}" not in self.hub.repositories:
            self._answer({"error": "Repository not found"}, 404)
        else:
            self._answer({"id": name, "private": self.hub.repositories[f"{kind}/{name}"], "sha": "0" * 40})

    def do_PUT(self) -> None:
        self.hub.large[self.path.rpartition("/")[2]] = self._body()
        self._answer({})

    def do_POST(self) -> None:
        body = self._body()
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            self._validate(json.loads(body)["content"])
        elif self.path.endswith("/info/lfs/objects/batch"):
            self._answer({"transfer": "basic", "objects": [self._upload(one) for one in json.loads(body)["objects"]]})
        elif "/preupload/" in self.path:
            files = [self._mode(one["path"]) for one in json.loads(body)["files"]]
            self._answer({"files": files})
        else:
            self._commit(body)

    def _create(self, asked: dict) -> None:
        name = f"{asked['organization'] or 'me'}/{asked['name']}"
        kind = f"{asked.get('type') or 'model'}s"
        prefix = "datasets/" if kind == "datasets" else ""
        known = f"{kind}/{name}" in self.hub.repositories
        self.hub.repositories.setdefault(f"{kind}/{name}", asked["visibility"] == "private")
        self._answer({"url": f"{self.hub.url}/{prefix}{name}", "name": name}, 409 if known else 200)

    def _validate(self, card: str) -> None:
        values = yaml.safe_load(card.split("---\n", 2)[1])
        self._answer({"errors": [], "warnings": []} if isinstance(values, dict) else {"errors": [{"message": "no"}]})

    def _upload(self, asked: dict) -> dict:
        return {**asked, "actions": {"upload": {"href": f"{self.hub.url}/large/{asked['oid']}"}}}

    def _mode(self, path: str) -> dict:
        return {"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular", "shouldIgnore": False}

    def _commit(self, body: bytes) -> None:
        repository = re.fullmatch(r"/api/((?:models|datasets)/[^/]+/[^/]+)/commit/main", self.path).group(1)  # type: ignore[union-attr]
        for line in map(json.loads, body.decode().splitlines()):
            if line["key"] == "header":
                self.hub.commits.append((repository, line["value"]["summary"]))
                continue
            value = line["value"]
            path = self.hub.folder / repository / value["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            is_large = line["key"] == "lfsFile"
            path.write_bytes(self.hub.large[value["oid"]] if is_large else base64.b64decode(value["content"]))
        self._answer({"commitUrl": f"{self.hub.url}/{repository}/commit/1", "commitOid": "1" * 40})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, values: dict, status: int = 200) -> None:
        content = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
