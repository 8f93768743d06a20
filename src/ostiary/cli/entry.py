"""The way into the command `ostiary`.

Until all of it is imported an interrupt ends the process at once, as SIGTERM does: a KeyboardInterrupt amid imports may be
raised in a callback of the interpreter's, which says so on standard error and goes on as if nothing had been.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from ostiary.cli.main import app
from ostiary.telemetry.lines import hold_standard_descriptors


def main() -> None:
    """The entry point."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    hold_standard_descriptors()
    app()
