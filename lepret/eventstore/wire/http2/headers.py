"""Header blocks (RFC 7541), with the `hpack` package."""

from collections.abc import Iterable

import hpack

Header = tuple[bytes, bytes]

MAX_HEADER_LIST = 32 * 1024
"""The maximum size of a block's names and values together, in bytes."""

_MAX_CACHED = 16
"""The maximum of cached blocks. Low, since a client may make each block large."""


class HeadersUnreadable(Exception):
    """The header block cannot be decoded, so the connection must end."""


class HeaderDecoder:
    """Decodes the header blocks of one connection, in order.

    A client sends the same block with nearly every call, mostly references to the decoder's table
    of earlier headers. Blocks that do not change the table are cached until another one does.
    """

    def __init__(self) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=MAX_HEADER_LIST)
        self._cached: dict[bytes, list[Header]] = {}

    def decode(self, block: bytes) -> list[Header]:
        """The headers of a block. Raises HeadersUnreadable."""
        headers = self._cached.get(block)
        if headers is not None:
            return headers
        table = self._table()
        headers = self._decode(block)
        if self._table() != table or len(self._cached) >= _MAX_CACHED:
            self._cached.clear()
        else:
            self._cached[block] = headers
        return headers

    def _table(self) -> tuple[int, list[Header]]:
        table = self._decoder.header_table
        return table.maxsize, list(table.dynamic_entries)

    def _decode(self, block: bytes) -> list[Header]:
        try:
            return [(name, value) for name, value in self._decoder.decode(block, raw=True)]
        except hpack.HPACKError as error:
            raise HeadersUnreadable(str(error)) from None


def encode_headers(headers: Iterable[Header]) -> bytes:
    """A header block for any connection: it adds nothing to the dynamic table."""
    never_indexed = [hpack.NeverIndexedHeaderTuple(name, value) for name, value in headers]
    return hpack.Encoder().encode(never_indexed, huffman=False)
