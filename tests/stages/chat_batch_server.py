"""The chat server with a batch endpoint, which misbehaves as a course says."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.stages.chat_server import Act, Asked, ChatServer, failed, good

GOOD = Act()


@dataclass(frozen=True, kw_only=True)
class Course:
    """How a batch goes: after so many looks at it it ends, with a share of its lines done.

    `making` is done in the place of the answer that tells of the batch, which is made nevertheless. `mess`: its files
    hold every line twice, the second time with another answer, and lines that say nothing of any request.
    """

    looks: int = 2
    end: str = "completed"
    share: float = 1.0
    errors: tuple[dict[str, Any], ...] = ()
    making: Act | None = None
    failing_looks: int = 0
    cut_reads: int = 0
    deleted: bool = False
    mess: bool = False


class BatchServer(ChatServer):
    """What a line is answered with says the plan; `cut` leaves it out. What a batch goes through says the course."""

    def __init__(self, plan: Callable[[Asked], Act] = lambda _: GOOD, course: Callable[[int], Course] | None = None):
        super().__init__(plan)
        self.course = course or (lambda number: Course())
        self.held = False  # no batch ends
        self.files: dict[str, bytes] = {}
        self.made: list[dict[str, Any]] = []
        self.looks = 0
        self.uploads: list[Act] = []  # what the next uploads are answered with
        self._looked: Counter[str] = Counter()
        self._read: Counter[str] = Counter()

    def other(self, method: str, path: str, content: bytes, headers: dict[str, str]) -> Act:
        place, _, query = path.removeprefix("/v1/").partition("?")
        kind, *rest = place.split("/")
        if method == "POST":
            return self._upload(content, headers) if kind == "files" else self._make(json.loads(content), headers)
        if not rest:
            return self._list(dict(part.split("=") for part in query.split("&")))
        return self._content(rest[0]) if kind == "files" else self._look(rest[0])

    def lines(self, number: int) -> list[dict[str, Any]]:
        """What was uploaded for a batch."""
        return [json.loads(line) for line in self.files[self.made[number]["input_file_id"]].splitlines()]

    def _upload(self, content: bytes, headers: dict[str, str]) -> Act:
        if self.uploads:
            return self.uploads.pop(0)
        boundary = headers["content-type"].partition("boundary=")[2].encode()
        parts = [part.partition(b"\r\n\r\n") for part in content.split(b"--" + boundary)]
        (data,) = (body.removesuffix(b"\r\n") for head, _, body in parts if b'name="file"' in head)
        assert b'name="purpose"\r\n\r\nbatch' in content
        return Act(body={"id": self._keep(data), "object": "file"})

    def _keep(self, data: bytes) -> str:
        self.files[f"file-{len(self.files)}"] = data
        return f"file-{len(self.files) - 1}"

    def _make(self, wanted: dict[str, Any], headers: dict[str, str]) -> Act:
        assert wanted["endpoint"] == "/v1/chat/completions"
        batch = {"id": f"batch-{len(self.made)}", "object": "batch", "status": "validating", **wanted}
        self.made.append(batch)
        self._headers = headers
        return self.course(len(self.made) - 1).making or Act(body=batch)

    def _list(self, query: dict[str, str]) -> Act:
        """The newest first, two a page."""
        newest = self.made[::-1]
        start = next((i + 1 for i, batch in enumerate(newest) if batch["id"] == query.get("after")), 0)
        return Act(body={"object": "list", "data": newest[start : start + 2], "has_more": start + 2 < len(newest)})

    def _look(self, name: str) -> Act:
        self.looks += 1
        number = next((i for i, batch in enumerate(self.made) if batch["id"] == name), None)
        if number is None:
            return failed(404, "no such batch")
        batch, course = self.made[number], self.course(number)
        self._looked[name] += 1
        if self._looked[name] <= course.failing_looks:
            return failed(500)
        if batch["status"] in ("validating", "in_progress"):
            batch["status"] = "in_progress"
            if not self.held and self._looked[name] >= course.looks:
                self._end(number, batch, course)
        return Act(body=batch)

    def _end(self, number: int, batch: dict[str, Any], course: Course) -> None:
        batch["status"] = course.end
        if course.end == "failed":
            batch["errors"] = {"object": "list", "data": list(course.errors)}
            return
        asked = self.lines(number)
        done = round(course.share * len(asked))
        lines = [self._line(line) for line in asked[:done][::-1]]  # in another order
        whole = [line for line in lines if _is_whole(line)]
        bad = [line for line in lines if line and line not in whole]
        left = {"code": f"batch_{course.end}", "message": "it was not done in time"}
        bad += [{"id": "x", "custom_id": line["custom_id"], "response": None, "error": left} for line in asked[done:]]
        for name, found in (("output_file_id", whole), ("error_file_id", bad)):
            batch[name] = self._keep(self._file(found, course)) if found else None

    def _line(self, line: dict[str, Any]) -> dict[str, Any] | bytes | None:
        asked = self.note(line["body"], self._headers)
        act = self.plan(asked)
        if act.cut:
            return None
        if isinstance(act.body, bytes):
            return act.body
        if act.body is None:
            self.answered[asked.text] += 1
        response = {"status_code": act.status, "request_id": "r", "body": good(asked) if act.body is None else act.body}
        return {"id": "x", "custom_id": line["custom_id"], "response": response, "error": None}

    def _file(self, lines: list[Any], course: Course) -> bytes:
        if course.mess:
            others = [json.loads(json.dumps(line).replace("Answer", "Another answer")) for line in lines]
            nobody = {"id": "x", "custom_id": "nobody", "response": None, "error": None}
            lines = [b"", b"{'no json'", [1], nobody, *lines, *others]
        written = (line if isinstance(line, bytes) else json.dumps(line, ensure_ascii=False).encode() for line in lines)
        return b"\n".join(written)

    def _content(self, name: str) -> Act:
        self._read[name] += 1
        number = next(
            i for i, batch in enumerate(self.made) if name in (batch.get("output_file_id"), batch.get("error_file_id"))
        )
        course = self.course(number)
        if course.deleted:
            return failed(404, "no such file")
        return Act(body=self.files[name], cut=self._read[name] <= course.cut_reads)


def _is_whole(line: dict[str, Any] | bytes | None) -> bool:
    return isinstance(line, bytes) or (line is not None and line["response"]["status_code"] == 200)
