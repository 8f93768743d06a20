import os
import signal
import subprocess
import sys
import time

_SUPERVISOR = """
import os
from ostiary.bootstrap.job import SupervisorJob
from ostiary.bootstrap.supervisor import Supervisor

job = SupervisorJob(
    data=(), ops=None, lock_fd=int(os.environ["LOCK_FD"]), metrics_dir="", announcement="ready", log_level="info",
    ship_seconds=1.0, stop_seconds=1.0,
)
raise SystemExit(Supervisor(job).run())
"""


def test_no_signal_at_any_moment_makes_it_wait_for_itself(tmp_path):
    """A handler that takes a lock would, sooner or later, interrupt the thread that holds it."""
    with (
        open(tmp_path / "lock", "wb") as lock,
        subprocess.Popen(
            [sys.executable, "-c", _SUPERVISOR],
            env={**os.environ, "LOCK_FD": str(lock.fileno())},
            pass_fds=(lock.fileno(),),
            stdout=subprocess.PIPE,
        ) as running,
    ):
        try:
            assert running.stdout.readline() == b"ready\n"
            for turn in range(5_000):
                os.kill(running.pid, signal.SIGCHLD)
                meet = time.perf_counter_ns() + turn * 977 % 400_000  # so that it comes at ever other moments
                while time.perf_counter_ns() < meet:
                    pass
            os.kill(running.pid, signal.SIGTERM)
            assert running.wait(10) == 0
        finally:
            running.kill()
