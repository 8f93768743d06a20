"""What of a report of tokens is doubted."""

from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.event import Doubt
from ostiary.core.usage import Usage
from ostiary.gateway.meter.doubt import doubt, worth_counting

BYTES = st.integers(0, 10**6)


@given(BYTES, st.floats(1.0, 12.0))
def test_no_text_of_one_to_twelve_bytes_a_token_is_doubted(produced, each):
    assert doubt(Usage(output_tokens=int(produced / each)), produced) is None


@given(BYTES, st.integers(2, 100))
def test_more_tokens_than_bytes_are_doubted_unless_nobody_is_to_see_them(produced, times):
    tokens = (produced + 32) * times
    assert doubt(Usage(output_tokens=tokens), produced) is Doubt.USAGE_MORE
    for hidden in ("reasoning_tokens", "rejected_prediction_tokens", "output_audio_tokens", "output_image_tokens"):
        assert doubt(Usage(output_tokens=tokens, **{hidden: tokens}), produced) is not Doubt.USAGE_MORE


@given(st.integers(1_000, 10**6))
def test_next_to_nothing_for_much_is_doubted(produced):
    assert doubt(Usage(output_tokens=produced // 40), produced) is Doubt.USAGE_LESS


@given(st.integers(300, 900), st.integers(4, 10**5), st.floats(3.0, 5.0))
def test_an_ordinary_answer_is_not_worth_counting(wrapper, text, each):
    assert not worth_counting(Usage(output_tokens=int(text / each)), wrapper + text) or text < 400
