"""Which two questions may have one answer, by their words alone."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.limit import SEMANTIC_TEXT_CHARS_MAX
from ostiary.gateway.cache.letters import embed_letters
from ostiary.gateway.cache.neighbours import similarity
from ostiary.gateway.cache.wording import comparable, same_matter, same_words, wording

SAME = [
    ("What is the capital of France?", "what is the capital of france"),
    ("What is the capital of France?", "What's the capital of  France"),
    ("Please explain recursion.", "Can you explain recursion?"),
    ("Hi, how do I reset my password? Thanks!", "How do I reset my password?"),
    ("I cannot log in", "I can't log in."),
    ("How do I write a haiku?", "Hello! How do I write haiku, please?"),
    ("Wie komme ich nach Köln?", "wie komme ich nach köln?"),
]
OTHERS = [
    # numbers, units, dates
    ("Is 5 mg safe?", "Is 50 mg safe?"),
    ("Is 5 mg safe?", "Is 5 g safe?"),
    ("Is five mg safe?", "Is six mg safe?"),
    ("What happened in 1914?", "What happened in 1941?"),
    ("Meet on Monday at noon?", "Meet on Tuesday at noon?"),
    ("What is 3.5 plus 2?", "What is 35 plus 2?"),
    ("Is it -5 degrees?", "Is it 5 degrees?"),
    ("What is the first law?", "What is the second law?"),
    ("Convert 10 km to miles", "Convert 10 miles to km"),
    # negations
    ("I like it", "I do not like it"),
    ("Is it safe?", "Isn't it safe?"),
    ("Can I eat it without salt?", "Can I eat it with salt?"),
    ("Which of them are free?", "Which of them are never free?"),
    ("Ist das erlaubt?", "Ist das nicht erlaubt?"),
    # opposites
    ("How do I enable the alarm?", "How do I disable the alarm?"),
    ("How do I turn the alarm on?", "How do I turn the alarm off?"),
    ("What are the pros of it?", "What are the cons of it?"),
    ("May I buy shares?", "May I sell shares?"),
    ("What is the maximum load?", "What is the minimum load?"),
    # directions
    ("Flights from Paris to Rome", "Flights from Rome to Paris"),
    ("flights from paris to rome", "flights from rome to paris"),
    ("Translate this from German into English", "Translate this from English into German"),
    ("Does the dog chase the cat?", "Does the cat chase the dog?"),
    ("Is A bigger than B?", "Is B bigger than A?"),
    ("Does Alice owe Bob money?", "Does Bob owe Alice money?"),
    # names
    ("Who is the mayor of London?", "Who is the mayor of Paris?"),
    ("who is the mayor of london", "who is the mayor of paris"),
    ("Tell us about it", "Tell US about it"),
    ("Where is turkey?", "Where is Turkey?"),
    ("What is Go?", "What is go?"),
    ("Mail bob@example.com today", "Mail rob@example.com today"),
    ("Open https://a.example/x", "Open https://a.example/y"),
    ("What is C++?", "What is C?"),
    ("What is C#?", "What is C?"),
    # quotations
    ('What does "set" mean?', 'What does "sets" mean?'),
    ('What is "love"?', "What is love?"),
    # what is asked about
    ("Who wrote it?", "When wrote it?"),
    ("Can you speak French?", "Speak French."),
    ("You are done?", "You are done."),
    ("What is the vitamin A dose?", "What is the vitamin dose?"),
    ("Explain the cat", "Explain the dog"),
    ("What is the capital of France?", "What is the capital gains tax of France?"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_one_question_put_in_two_ways_may_have_one_answer(one, other):
    assert same_words(wording(one), wording(other))
    assert same_words(wording(other), wording(one))


@pytest.mark.parametrize(("one", "other"), OTHERS)
@pytest.mark.parametrize("allowed", [same_words, same_matter])
def test_questions_that_only_look_alike_may_not(one, other, allowed):
    assert not allowed(wording(one), wording(other))
    assert not allowed(wording(other), wording(one))


def test_by_meaning_more_may_pass():
    one, other = "How do I cancel my subscription?", "What is the process for cancelling my subscription?"
    assert same_matter(wording(one), wording(other))
    assert not same_words(wording(one), wording(other))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "x" * (SEMANTIC_TEXT_CHARS_MAX + 1),
        "What does `f(x)` give?",
        "if a:\n    b()",
        "a\tb",
        "pass\u200bword please",
        "p\u0430ssword reset",  # a Cyrillic letter among Latin ones
        "\uff30\uff21\uff33\uff33",  # full width
        "re\u0301sume\u0301",  # combining marks
        "right\u202eto left",
    ],
)
def test_texts_in_doubt_are_not_compared_at_all(text):
    assert not comparable(text)


@given(st.text(max_size=200))
def test_any_text_is_either_not_comparable_or_the_same_as_itself(text):
    if comparable(text):
        one = wording(text)
        assert same_words(one, one) or not one.words
        assert 0.999 < similarity(embed_letters(text), embed_letters(text)) <= 1.001 or not any(embed_letters(text))


@given(st.text(max_size=60), st.text(max_size=60))
def test_the_guards_do_not_care_who_came_first(one, other):
    if comparable(one) and comparable(other):
        a, b = wording(one), wording(other)
        assert same_words(a, b) == same_words(b, a)
        assert same_matter(a, b) == same_matter(b, a)


def test_letters_are_the_same_everywhere():
    first = embed_letters("The quick brown fox")
    assert [round(one, 4) for one in first if one][:4] == [-0.1826, 0.2582, -0.1826, -0.1826]
    assert similarity(first, embed_letters("the  quick, brown fox!")) > 0.999
    assert similarity(first, embed_letters("Completely unrelated words")) < 0.3


def test_a_long_text_takes_little_of_the_loops_time():
    text = ("How do I reset the password of my account when the mail never arrives? " * 10)[:SEMANTIC_TEXT_CHARS_MAX]

    def seconds():
        before = time.thread_time()
        embed_letters(wording(text).words)
        return time.thread_time() - before

    assert min(seconds() for _ in range(20)) < 0.005
