"""Link events (`$>`), which refer to an event of another stream."""

from lepret.eventstore.storage.stream_metadata import DELETED

LINK_TYPE = "$>"


def link_target(data: bytes) -> tuple[str, int] | None:
    """The stream and the revision that a link names, as in ``3@orders``.

    None for other data, which clients may write into a link event as well.
    """
    try:
        revision, at, stream = data.decode().partition("@")
    except UnicodeDecodeError:
        return None
    if not at or not stream or not (revision.isascii() and revision.isdigit()):
        return None
    number = int(revision[:20])
    return (stream, number) if number < DELETED else None
