"""The files of a batch: one request a line goes up, one answer a line comes down, in any order."""

import json
from typing import Any

from pydantic import BaseModel, ValidationError

from hasse.stages.chat.http.endpoint import Endpoint, Outcome, Response
from hasse.stages.chat.reply import Wanted
from hasse.stages.chat.request import Sending

NOT_IN_KEYS = "it carries questions and replies; `request` and `reply` decide what is asked and what is read"

PATH = "/v1/chat/completions"


class _Response(BaseModel):
    status_code: int
    body: Any = None


class _Error(BaseModel):
    code: str | None = None
    message: str | None = None


class BatchResult(BaseModel):
    """A line of an output or error file; `custom_id` is the key of its request."""

    custom_id: str
    response: _Response | None = None
    error: _Error | None = None

    def outcome(self, endpoint: Endpoint, wanted: Wanted) -> Outcome:
        """As of the same response to a request of its own; a request that was not tried may be tried again."""
        if self.response is not None:
            body = json.dumps(self.response.body).encode()
            return endpoint.outcome(Response(self.response.status_code, {}, body), wanted)
        error = self.error or _Error()
        return Outcome(error=endpoint.quote(f"{error.code or 'no answer'}: {error.message or 'without a reason'}"))


def write_line(sending: Sending) -> bytes:
    line = {"custom_id": sending.key, "method": "POST", "url": PATH, "body": sending.body}
    return json.dumps(line).encode() + b"\n"


def read_line(line: bytes) -> BatchResult | None:
    """None for a line that says nothing of any request."""
    try:
        return BatchResult.model_validate_json(line)
    except ValidationError:
        return None
