"""Read a server's response as an outcome: replies, or what went wrong and what the user can change."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import SecretStr

from hasse.stages.chat.http.completion import read_completion, read_error
from hasse.stages.chat.http.headers import retry_after
from hasse.stages.chat.http.outcome import Outcome, Response
from hasse.stages.chat.http.refusals import CHANGES, changes
from hasse.stages.chat.http.usage import Usage, read_usage
from hasse.stages.chat.reply import Reply, Unsupported, Unusable, Wanted
from hasse.stages.chat.settings import ChatSettings

RETRIED = {408, 409, 425, 429}
OVERLOADED = {429, 503}

ADVICE = {
    400: "see the model's limits of temperature, max_tokens, schema and the length of a question",
    401: "check the key in the environment variable {variable}",
    402: "the account of the key in {variable} has no credit left",
    403: "the key in {variable} may not use this model or endpoint",
    404: "check model and base_url",
    429: "the account of the key in {variable} has no quota left, which waiting does not mend",
}
REDIRECTED = "it sends requests on to another address; write in base_url the address that answers"
"""Redirects are not followed: neither the question nor the key go to an address that the settings do not name."""
MALFORMED = {400, 422}
TOO_LARGE = 413
WITHHELD_QUESTION = {400, 403, 422, 451}
FILTERS = (
    b'"content_filter"', b'"content_policy_violation"', b'"ResponsibleAIPolicyViolation"', b'"invalid_prompt"',
    b'"moderation_blocked"', b'"flagged_input"', b'"data_inspection_failed"', b'"sensitive_words_detected"',
)  # fmt: skip
"""Codes of servers that refuse to pass a single question on to the model because of what it says."""
TOO_LONG = ("context_length_exceeded", "maximum context length")
"""The code or the words of a server for a question that does not fit into its model's context beside max_tokens."""
LETTERS_A_TOKEN = 100
"""More letters per token than any text has on average. A longer answer of a server that counts no tokens shows that the
server ignores the limit."""
ABOUT_THE_KEY = {401, 403}
"""For these statuses the server's words are not quoted, since they are about the key."""
SHORTEST_KEY = 8
"""A shorter key is a placeholder for a server that needs none. It may be a word of an answer and stays there."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the responses of one endpoint. The key is removed from all that the server says."""

    settings: ChatSettings
    key: SecretStr
    url: str

    def outcome(self, response: Response, wanted: Wanted) -> Outcome:
        """The outcome of a response that should hold an answer."""
        return self._answered(response, wanted) if response.ok else self.problem(response, wanted.fields)

    def problem(self, response: Response, sent: Sequence[str] = ()) -> Outcome:
        """The outcome of an error response to a request with these fields.

        A question that is too long is no error of the run: its row gets the status `filtered`. Neither is a question
        that the server's filter withholds: its row gets the status `refused`.
        """
        if _is_too_long(response):
            said = self.quote(read_error(response.body).message) or "the question is too long"
            reply = Reply(text="", status="filtered", error=said)
            return Outcome(replies=(reply,), final=True, headers=response.headers)
        if response.status in WITHHELD_QUESTION and any(code in response.body for code in FILTERS):
            said = self.quote(read_error(response.body).message) or "the endpoint's filter withholds the question"
            return Outcome(
                replies=(Reply(text="", status="refused", error=said),), final=True, headers=response.headers
            )
        wait = retry_after(response.headers)
        if wait > self.settings.longest_wait and response.status in RETRIED | OVERLOADED:
            return self._too_long_a_wait(response, wait)
        retried = (response.status in RETRIED or response.status >= 500) and not _out_of_quota(response)
        return Outcome(
            error=f"HTTP {response.status}" if retried else self._refusal(response, sent),
            again=retried,
            overloaded=response.status in OVERLOADED,
            retry_after=min(wait, self.settings.longest_wait),
            headers=response.headers,
        )

    def quote(self, text: str) -> str:
        """The first 300 characters of the server's words, without the key."""
        return self._strip(text)[:300]

    def _too_long_a_wait(self, response: Response, wait: float) -> Outcome:
        """The question fails; the next run asks it again."""
        problem = (
            f"HTTP {response.status}: the endpoint asks to wait {wait:.4g} s, longer than longest_wait "
            f"({self.settings.longest_wait:g} s)"
        )
        return Outcome(replies=(Reply(text="", status="failed", error=problem),), final=True, overloaded=True)

    def _answered(self, response: Response, wanted: Wanted) -> Outcome:
        outcome = Outcome(usage=read_usage(response.body), may_cost=True, headers=response.headers)
        try:
            completion = read_completion(response.body, wanted)
        except Unsupported as error:
            return replace(outcome, error=self.quote(f"{error}; the endpoint is {self.url}"), again=False)
        except Unusable as error:
            if error.status is not None:
                return self.problem(Response(error.status, response.headers, response.body), wanted.fields)
            return replace(outcome, error=self.quote(str(error)), unusable=True)
        if problem := self._overrun(outcome.usage, completion.replies, wanted):
            return replace(outcome, error=problem, again=False, model=completion.model)
        replies = tuple(self._without_key(reply) for reply in completion.replies)
        return replace(
            outcome, replies=replies, error=self.quote(completion.problem), unusable=not replies, model=completion.model
        )

    def _overrun(self, usage: Usage | None, replies: tuple[Reply, ...], wanted: Wanted) -> str:
        """The error for a server that wrote more tokens than were asked for, since no cap on money can hold then."""
        most = wanted.num * wanted.max_tokens
        counted = usage.completion_tokens if usage else 0
        seen = max(counted, sum(len(reply.logprobs) for reply in replies))
        if not usage and not seen:
            seen = sum(len(reply.text) for reply in replies) // LETTERS_A_TOKEN
        if not wanted.max_tokens or seen <= most:
            return ""
        limit = self.settings.token_limit
        other = "max_tokens" if limit == "max_completion_tokens" else "max_completion_tokens"
        return (
            f"the endpoint {self.url} wrote {seen:,} tokens where at most {most:,} were asked for: it does not heed "
            f"{limit}, so that no cap on money can hold; set token_limit: {other}, or ask another endpoint"
        )

    def _refusal(self, response: Response, sent: Sequence[str]) -> str:
        said = "" if response.status in ABOUT_THE_KEY else read_error(response.body).message
        advice = ADVICE.get(response.status, "check base_url").format(variable=self.settings.api_key_variable)
        if 300 <= response.status < 400:
            advice = REDIRECTED
        elif response.status in MALFORMED:
            advice = "; ".join(changes(said, sent)) or _perhaps(sent, advice)
        quoted = f"; it says: {self.quote(said)}" if said else ""
        return f"the endpoint refuses requests to {self.settings.model!r} ({response.status}): {advice}{quoted}"

    def _without_key(self, reply: Reply) -> Reply:
        error = reply.error and self._strip(reply.error)
        if len(self.key) < SHORTEST_KEY:
            return replace(reply, error=error)
        return replace(reply, text=self._strip(reply.text), reasoning=self._strip(reply.reasoning), error=error)

    def _strip(self, text: str) -> str:
        return text.replace(self.key.get_secret_value(), "[key]")


def _perhaps(sent: Sequence[str], advice: str) -> str:
    """Advice where the server names no field: most often a server does not know schemas."""
    return f"{CHANGES['response_format']}; else {advice}" if "response_format" in sent else advice


def _is_too_long(response: Response) -> bool:
    said = response.status in MALFORMED and any(words.encode() in response.body for words in TOO_LONG)
    return said or response.status == TOO_LARGE


def _out_of_quota(response: Response) -> bool:
    return response.status == 429 and b'"insufficient_quota"' in response.body
