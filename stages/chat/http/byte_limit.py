"""Limit the bytes of a response. They are counted as they arrive, and unpacked only up to the limit."""

import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2

ACCEPTED = "gzip, deflate"
MOST_BYTES = 2**25
"""32 MiB, more than the longest answers with all their log-probs."""
MOST_FILE_BYTES = 2**33
"""8 GiB, for the result file of a batch, which is read line by line."""
ENCODING = "content-encoding"


class TooLong(httpx2.RequestError):
    """The response has more bytes than any answer needs, is cut off, or has an encoding that was not asked for."""


def limited() -> dict[str, list[Any]]:
    """The event hooks that limit the responses of an httpx client."""

    async def limit(response: httpx2.Response) -> None:
        encoding = response.headers.pop(ENCODING, "identity").strip().lower()
        response.headers.pop("content-length", None)  # the length of the packed bytes
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        is_file = response.request.url.path.endswith("/content")
        most = MOST_FILE_BYTES if is_file else MOST_BYTES
        response.stream = _Limited(response.stream, encoding, most)

    return {"response": [limit]}


class _Limited(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, encoding: str, most: int):
        self._stream, self._encoding, self._left, self._most = stream, encoding, most, most
        self._state: Any = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        unpack = self._unpacker()
        async for packed in self._stream:
            data = unpack(packed)
            self._left -= len(data)
            if self._left < 0:
                raise TooLong("the response is longer than any answer")
            yield data
        if self._is_cut_off():
            raise TooLong("the packed response is cut off")

    async def aclose(self) -> None:
        await self._stream.aclose()

    def _is_cut_off(self) -> bool:
        """Whether packed data ends before its own end, which holds the checksum."""
        return self._state is not None and not self._state.eof and self._left < self._most

    def _unpacker(self) -> Any:
        if self._encoding == "identity":
            return lambda data: data
        if self._encoding not in ("gzip", "x-gzip", "deflate"):
            raise TooLong(f"the response is packed by {self._encoding[:20]!r}, which was not asked for")
        self._state = state = zlib.decompressobj(zlib.MAX_WBITS | 32)  # detects whether the data is gzip or zlib

        def unpack(data: bytes) -> bytes:
            try:
                return state.decompress(data, self._left + 1)
            except zlib.error as error:
                raise TooLong("the response cannot be unpacked") from error

        return unpack
