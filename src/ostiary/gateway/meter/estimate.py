"""Token counts where the provider gave none, from bytes of text. Calibrated, not exact; always marked as estimated.

English prose and code run at about 4 bytes a token in current vocabularies, other scripts at 2 to 3. Prompts are
counted at 3.5 and rounded up; each message costs a few tokens of framing.
"""

from typing import Final

_BYTES_PER_7_TOKENS: Final = 24
_TOKENS_PER_MESSAGE: Final = 4
_SMALL_BYTES: Final = 4_096
"""Below this a prompt fits into any window there is, and needs no closer look."""
_CHARS_PER_TOKEN_MOST: Final = 8
"""More characters than a token has on average in any ordinary text; what is nothing but blanks may have more."""


def input_tokens(text_bytes: int, messages: int) -> int:
    """Prompt tokens for `text_bytes` of UTF-8 in `messages` messages."""
    return -(-text_bytes * 7 // _BYTES_PER_7_TOKENS) + _TOKENS_PER_MESSAGE * messages


def least_input_tokens(raw: bytes, inline_bytes: int) -> int:
    """What a prompt takes at least, for refusing what certainly does not fit: a token for every _CHARS_PER_TOKEN_MOST
    characters of the request, without its `inline_bytes` of media."""
    text_bytes = len(raw) - inline_bytes
    if text_bytes < _SMALL_BYTES:
        return text_bytes // _CHARS_PER_TOKEN_MOST
    chars = (len(raw) if raw.isascii() else len(raw.decode("utf-8", "replace"))) - inline_bytes
    return max(0, chars - 5 * raw.count(b"\\u")) // _CHARS_PER_TOKEN_MOST  # an escape is six characters for one


def output_tokens(text_bytes: int) -> int:
    """Answer tokens for `text_bytes` of UTF-8."""
    return -(-text_bytes * 7 // _BYTES_PER_7_TOKENS)
