"""Where answers are kept besides a worker's memory: the operator's URL, checked and handed to workers, and the adapter that
a worker makes of it."""

import hmac
import importlib
from pathlib import Path
from typing import Final

from ostiary.bootstrap.job import AnswersJob
from ostiary.core.error import Code, OperatorError
from ostiary.core.port import Clock, Random
from ostiary.gateway.ports import AnswerCache

_MODULE: Final = "ostiary.store.redis.answers"
_SEAL: Final = b"the seal of kept answers"


def shared_answers(job: AnswersJob | None, digest_key: bytes, *, clock: Clock, random: Random) -> AnswerCache | None:
    """The place that workers share, where the operator has one. Nothing is sent yet. Replicas that have the same
    digest.key read one another's answers; nobody else does. Raises OperatorError config.invalid."""
    if job is None:
        return None
    try:
        module = importlib.import_module(_MODULE)
        url = Path(job.url_file).read_text(encoding="utf-8")
        seal = hmac.digest(digest_key, _SEAL, "sha256")
        found: AnswerCache = module.RedisAnswers(url, seal, clock=clock, random=random, prefix=job.prefix)
    except (ImportError, OSError, ValueError) as error:
        raise OperatorError(
            Code.CONFIG_INVALID, f"the shared answers cannot be used: {type(error).__name__}"
        ) from error
    return found
