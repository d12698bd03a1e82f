"""HTTP/2 frames as bytes (RFC 9113, section 6)."""

from enum import IntEnum
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_SIZE = 9
PING_SIZE = 8
DEFAULT_WINDOW = 65_535
DEFAULT_MAX_FRAME = 16_384
MAX_WINDOW = 2**31 - 1
MAX_STREAM_ID = 2**31 - 1

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20

_HEADER = Struct(">HBBBL")
_SETTING = Struct(">HL")
_WORD = Struct(">L")


class FrameType(IntEnum):
    """The types of frames."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Setting(IntEnum):
    """The settings that this server sends or obeys."""

    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ErrorCode(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFault(Exception):
    """The peer violates the protocol: the connection ends with this error code."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def frame(kind: FrameType, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return frame_header(kind, flags, stream_id, len(payload)) + payload


def frame_header(kind: FrameType, flags: int, stream_id: int, length: int) -> bytes:
    """The header of a frame with a payload of ``length`` bytes."""
    return _HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream_id)


def parse_header(buffer: bytes | bytearray, at: int) -> tuple[int, int, int, int]:
    """Length, type, flags and stream of the frame at ``at``."""
    high, low, kind, flags, stream_id = _HEADER.unpack_from(buffer, at)
    return high << 8 | low, kind, flags, stream_id & 0x7FFFFFFF


def settings(values: dict[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(_SETTING.pack(setting, value) for setting, value in values.items())
    return frame(FrameType.SETTINGS, 0, 0, payload)


def parse_settings(payload: bytes) -> list[tuple[int, int]]:
    """The peer's settings, including unknown ones. Raises ConnectionFault."""
    if len(payload) % _SETTING.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "settings of a wrong length")
    return list(_SETTING.iter_unpack(payload))


def window_update(stream_id: int, octets: int) -> bytes:
    """A WINDOW_UPDATE frame: the peer may send this many more bytes."""
    return frame(FrameType.WINDOW_UPDATE, 0, stream_id, _WORD.pack(octets))


def rst_stream(stream_id: int, code: ErrorCode) -> bytes:
    """A RST_STREAM frame."""
    return frame(FrameType.RST_STREAM, 0, stream_id, _WORD.pack(code))


def goaway(last_stream_id: int, code: ErrorCode, reason: str = "") -> bytes:
    """A GOAWAY frame: streams after ``last_stream_id`` will not be answered."""
    payload = _WORD.pack(last_stream_id) + _WORD.pack(code) + reason.encode()
    return frame(FrameType.GOAWAY, 0, 0, payload)


def parse_word(payload: bytes) -> int:
    """A payload of four bytes, without its reserved bit. Raises ConnectionFault."""
    if len(payload) != _WORD.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame of a wrong length")
    word: int = _WORD.unpack(payload)[0]
    return word & 0x7FFFFFFF


def unpadded(payload: bytes, flags: int) -> bytes:
    """The payload without padding. Raises ConnectionFault."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]
