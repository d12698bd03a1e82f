"""Header blocks (RFC 7541), by way of the `hpack` package."""

from collections.abc import Iterable

import hpack

Header = tuple[bytes, bytes]

MAX_HEADER_LIST = 32 * 1024
"""Octets of all names and values of one block together."""


class HeadersUnreadable(Exception):
    """The header block cannot be decoded; the connection cannot go on."""


class HeaderDecoder:
    """Decodes the header blocks of one connection, in order."""

    def __init__(self) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=MAX_HEADER_LIST)

    def decode(self, block: bytes) -> list[Header]:
        """The headers of a block. Raises HeadersUnreadable."""
        try:
            return [(name, value) for name, value in self._decoder.decode(block, raw=True)]
        except hpack.HPACKError as error:
            raise HeadersUnreadable(str(error)) from None


def encode_headers(headers: Iterable[Header]) -> bytes:
    """A header block for any connection: one that adds nothing to the dynamic table."""
    unremembered = [hpack.NeverIndexedHeaderTuple(name, value) for name, value in headers]
    return hpack.Encoder().encode(unremembered, huffman=False)
