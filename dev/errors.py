"""Write docs/errors.md from the vocabulary of reasons.

.venv/bin/python dev/errors.py
"""

from pathlib import Path

from ostiary.core.error import REASONS, Code

TARGET = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
HEAD = """\
# Errors

Written by `make docs` from `REASONS` in `core/error.py`; do not edit.

A failure comes in the wire form of the endpoint that was called, so that the caller's SDK raises its usual exception.
The reason below is the same word everywhere:

| where | how |
|---|---|
| OpenAI endpoints | `error.code`; `error.param` names the field at fault, where one is |
| Anthropic endpoints | `error.code`, and `error.details.error_code`; `error.param` as above |
| Google endpoints | `reason` of the `google.rpc.ErrorInfo` in `error.details`; the field at fault in its `BadRequest` |
| metrics | the label `reason` of `ostiary_requests_total` |
| journal | the field `error` of the closing record |
| log | the field `reason` of the event `call_ended` |

Where the failure is a provider's and it has a word of its own for it (`context_length_exceeded`, `invalid_api_key`),
that word stands beside the reason: in `error.provider_code` (`metadata.provider_code` of the `ErrorInfo` on Google
endpoints, `provider_code` of the `error` event in a responses stream), and in the journal with the attempt. It is for
people: providers differ in their words and change them.

Each answer carries `x-request-id`; `ostiary audit show --request ID` prints what the journal holds of it. For
`upstream.refused` the status is the provider's own; Anthropic endpoints answer an overload with 529, as that API does.
Where a wait is known, it stands in `retry-after`.

**Retry** says whether sending the same request again may succeed. An SDK that retries by status does so for 408, 409,
429 and 5xx; where the table says no for such a status, the retry does no harm but does not help.
"""
FOOT = """\
A status of — is never answered over HTTP: the reason stands in a command's output, the journal or the log. 499 stands
in the journal only, since the client is gone.
"""


def page() -> str:
    """The whole document."""
    parts = [HEAD]
    section = ""
    for code in sorted(Code, key=lambda code: (code.partition(".")[0], list(Code).index(code))):
        prefix = code.partition(".")[0]
        if prefix != section:
            section = prefix
            parts.append(f"\n## {prefix}\n\n| reason | status | retry | cause | what to do |\n|---|---|---|---|---|\n")
        reason = REASONS[code]
        status = reason.status or "—"
        parts.append(
            f"| `{code}` | {status} | {'yes' if reason.retryable else 'no'} | {reason.cause} | {reason.advice} |\n"
        )
    return "".join(parts) + "\n" + FOOT


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
