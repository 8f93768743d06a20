from ostiary.core.call import DialectName, Operation
from ostiary.core.limit import DROPPED_FIELDS_CHARS_MAX
from ostiary.core.principal import Principal
from ostiary.core.usage import Cost, Nano
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.cache.recall import Recall
from ostiary.gateway.heading import told
from ostiary.gateway.ports import Receipt


def draft(dialect=DialectName.OPENAI):
    return Draft("req-1", Principal("acme", "search", "production", "k", "n"), Operation.CHAT, dialect, "s")


def heads(one, recalled=Recall.BYPASS, *, target="oai/gpt"):
    return dict(told(one, recalled, attempts=2, receipt=Receipt("r.0", 7), target=target))


def test_a_cost_is_exact_to_the_nano_unit_however_large():
    one = draft()
    for nano, text in ((1, b"0.000000001"), (1_500_000_000, b"1.500000000"), (2**63 - 1, b"9223372036.854775807")):
        one.cost = Cost(Nano(nano), "EUR")
        assert heads(one)[b"x-ostiary-cost"] == text + b" EUR"


def test_a_stream_tells_no_cost_since_none_is_known_yet():
    one = draft()
    one.stream, one.cost = True, Cost(Nano(1))
    assert b"x-ostiary-cost" not in heads(one)


def test_the_cache_is_told_only_where_it_was_asked():
    assert heads(draft())[b"x-ostiary-cache"] == b"bypass"
    assert b"x-ostiary-cache" not in heads(draft(), None)


def test_the_target_is_told_with_the_version_that_answered_in_visible_characters():
    one = draft()
    one.told_by("gpt-4o\r\nx-evil: 1 ü", "stop")
    assert heads(one)[b"x-ostiary-target"] == b"oai/gpt@gpt-4o??x-evil: 1 ?"
    assert b"x-ostiary-target" not in heads(one, target="")


def test_names_left_out_are_bounded_and_say_how_many_more_there_were():
    one = draft()
    one.left_out(("seed", "logprobs"))
    assert heads(one)[b"x-ostiary-dropped"] == b"seed, logprobs"
    one.left_out(tuple(f"messages[{index}].name" for index in range(4_000)))
    assert len(heads(one)[b"x-ostiary-dropped"]) < DROPPED_FIELDS_CHARS_MAX + 20
    assert heads(one)[b"x-ostiary-dropped"].endswith(b"more")
    one.left_out(("x" * 1_000_000,))
    assert heads(one)[b"x-ostiary-dropped"] == b"and 1 more"


def test_anthropics_clients_find_the_request_where_they_look():
    assert heads(draft(DialectName.ANTHROPIC))[b"request-id"] == b"req-1"
    assert b"request-id" not in heads(draft())


def test_what_few_calls_differ_in_is_told_of_each_as_it_was():
    ways = [(1, None, "oai/gpt"), (1, Recall.MISS, "oai/gpt"), (2, Recall.MISS, "oai/gpt"), (1, Recall.HIT, "")]
    for _ in range(2):  # the second time they are known
        for attempts, recalled, target in ways:
            found = dict(told(draft(), recalled, attempts=attempts, receipt=None, target=target))
            assert found == {
                b"x-request-id": b"req-1",
                b"x-ostiary-attempts": b"%d" % attempts,
                **({} if recalled is None else {b"x-ostiary-cache": recalled.encode()}),
                **({b"x-ostiary-target": target.encode()} if target else {}),
            }
