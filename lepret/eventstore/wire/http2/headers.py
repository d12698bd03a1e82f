"""Header blocks (RFC 7541), by way of the `hpack` package."""

from collections.abc import Iterable

import hpack

Header = tuple[bytes, bytes]

MAX_HEADER_LIST = 32 * 1024
"""Octets of all names and values of one block together."""


_MAX_REMEMBERED = 16
"""Blocks; few, for a client may make each as large as it likes."""


class HeadersUnreadable(Exception):
    """The header block cannot be decoded; the connection cannot go on."""


class HeaderDecoder:
    """Decodes the header blocks of one connection, in order.

    A client says the same in nearly every call, mostly by numbers that stand for headers of
    earlier blocks. What a block means that changes nothing in the decoder's table is
    remembered until one does.
    """

    def __init__(self) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=MAX_HEADER_LIST)
        self._remembered: dict[bytes, list[Header]] = {}

    def decode(self, block: bytes) -> list[Header]:
        """The headers of a block. Raises HeadersUnreadable."""
        headers = self._remembered.get(block)
        if headers is not None:
            return headers
        table = self._table()
        headers = self._decode(block)
        if self._table() != table or len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        else:
            self._remembered[block] = headers
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
    """A header block for any connection: one that adds nothing to the dynamic table."""
    unremembered = [hpack.NeverIndexedHeaderTuple(name, value) for name, value in headers]
    return hpack.Encoder().encode(unremembered, huffman=False)
