"""A process that appends until it is killed and says, after each append, what was acknowledged."""

import sys
import time
from pathlib import Path

from ostiary.core.error import GatewayError
from ostiary.core.event import Kind
from ostiary.store.journal.disk import OsDisk
from ostiary.store.journal.opening import open_journal
from tests.unit.store.journal.chain import closed, opened


class RealClock:
    monotonic = staticmethod(time.monotonic)
    now_ns = staticmethod(time.time_ns)


def main() -> None:
    started = open_journal(Path(sys.argv[1]), "r1", disk=OsDisk(), clock=RealClock(), slot=0, segment_bytes=64 * 1024)
    started.journal.start()
    out = sys.stdout
    out.write("ready\n")
    out.flush()
    number = 0
    while True:
        number += 1
        try:
            receipt = started.journal.append(Kind.OPENED, opened(number))
            out.write(f"{receipt.sequence} {number} o\n")
            if number % 7:
                receipt = started.journal.append(Kind.CLOSED, closed(number, receipt.sequence))
                out.write(f"{receipt.sequence} {number} c\n")
        except GatewayError:
            # The next file is not allocated yet; the journal is refusing, not losing.
            continue
        finally:
            out.flush()


if __name__ == "__main__":
    main()
