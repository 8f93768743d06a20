"""Token counts where the provider gave none, from bytes of text. Calibrated, not exact; always marked as estimated.

English prose and code run at about 4 bytes a token in current vocabularies, other scripts at 2 to 3. Prompts are
counted at 3.5 and rounded up; each message costs a few tokens of framing.
"""

from typing import Final

_BYTES_PER_7_TOKENS: Final = 24
_TOKENS_PER_MESSAGE: Final = 4


def input_tokens(text_bytes: int, messages: int) -> int:
    """Prompt tokens for `text_bytes` of UTF-8 in `messages` messages."""
    return -(-text_bytes * 7 // _BYTES_PER_7_TOKENS) + _TOKENS_PER_MESSAGE * messages


def output_tokens(text_bytes: int) -> int:
    """Answer tokens for `text_bytes` of UTF-8."""
    return -(-text_bytes * 7 // _BYTES_PER_7_TOKENS)
