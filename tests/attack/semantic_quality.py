"""How often the comparison of questions gives an answer it should not, and how often one it should: on public texts.

    .venv/bin/python -m tests.attack.semantic_quality --datasets FOLDER

Wrong pairs: sentences of one template with other names, numbers and places in it, and prompts in which one thing was
changed (a number, a negation, a word, the order). Right pairs: prompts put as another person might type them, by rules,
since no public set of true paraphrases is at hand. `builtin` is the whole road of the built-in embedder; `guards` is what
the guards of a model let through if the model thought everything alike.
"""

import argparse
import itertools
import json
import os
import random
import re
from pathlib import Path

from ostiary.gateway.cache.letters import embed_letters
from ostiary.gateway.cache.neighbours import similarity
from ostiary.gateway.cache.wording import comparable, same_matter, same_words, wording

DATASETS = Path(os.environ.get("OSTIARY_TEST_DATASETS") or Path(__file__).parents[3] / "shared" / "datasets")
FLOOR = 0.95
PAIRS_MAX = 20_000
PROMPTS = ("injection/notinject_one_benign.json", "injection/wildguard_benign_half.json")
SENTENCES = ("pii/presidio_generated_half.json", "pii/presidio_generated_small.json")


def builtin(one, other):
    """Whether the built-in embedder's road would give one's answer to the other."""
    if not (comparable(one) and comparable(other)):
        return False
    a, b = wording(one), wording(other)
    return same_words(a, b) and similarity(embed_letters(a.words), embed_letters(b.words)) >= FLOOR


def guards(one, other):
    """Whether the guards alone would let it pass."""
    return comparable(one) and comparable(other) and same_matter(wording(one), wording(other))


def prompts(folder):
    texts = [entry["prompt"] for name in PROMPTS for entry in json.loads((folder / name).read_text("utf-8"))]
    return [text for text in dict.fromkeys(texts) if comparable(text)]


def of_one_template(folder, chance):
    """Pairs of sentences that differ in what was filled in."""
    groups = {}
    for name in SENTENCES:
        for entry in json.loads((folder / name).read_text("utf-8")):
            filled = tuple(span["entity_value"].casefold() for span in entry["spans"])
            if filled:
                groups.setdefault(entry["masked"].casefold(), []).append((filled, entry["full_text"]))
    found = [
        (one, other)
        for group in groups.values()
        for (a, one), (b, other) in itertools.combinations(group, 2)
        if a != b and comparable(one) and comparable(other)
    ]
    chance.shuffle(found)
    return found[:PAIRS_MAX]


def changed(text, others, chance):
    """The text with one thing in it that makes it another question."""
    words = text.split()
    places = [i for i, word in enumerate(words) if word.isalpha() and len(word) > 3]
    if re.search(r"\d", text):
        yield re.sub(r"\d+", lambda number: str(int(number[0]) + 1), text, count=1)
    for verb in ("is", "are", "can", "do", "does", "should", "will"):
        if verb in words:
            yield text.replace(f" {verb} ", f" {verb} not ", 1)
            break
    if len(places) > 1:
        i, j = chance.sample(places, 2)
        swapped = list(words)
        swapped[i], swapped[j] = words[j], words[i]
        yield " ".join(swapped)
    if places:
        other = chance.choice(
            [word for word in chance.choice(others).split() if word.isalpha() and len(word) > 3] or ["moon"]
        )
        i = chance.choice(places)
        if other.casefold() != words[i].casefold():
            yield " ".join([*words[:i], other, *words[i + 1 :]])
            yield " ".join([*words[: i + 1], other, *words[i + 1 :]])


def reworded(text):
    """The text as somebody else might type it."""
    yield text.lower()
    yield text.rstrip(".?! ")
    yield "  ".join(text.split(" "))
    yield f"Hi, {text}"
    yield f"{text} Thanks!"
    yield f"Please {text[0].lower()}{text[1:]}"
    for long, short in (
        ("What is", "What's"),
        ("do not", "don't"),
        ("cannot", "can't"),
        ("I am", "I'm"),
        ("it is", "it's"),
    ):
        if long in text:
            yield text.replace(long, short)


def measure(folder, prompts_max=1_500):
    """Figures by name: how many pairs, and how many of them each road would answer."""
    chance = random.Random(7)
    texts = prompts(folder)
    chance.shuffle(texts)
    texts = texts[:prompts_max]
    pairs = {
        "another name or number in one template": of_one_template(folder, chance),
        "one thing changed in a prompt": [
            (text, other)
            for text in texts
            for other in changed(text, texts, chance)
            if other.casefold().split() != text.casefold().split()
        ],
        "two prompts of the sets": [tuple(chance.sample(texts, 2)) for _ in range(PAIRS_MAX)],
        "a prompt put otherwise": [(text, other) for text in texts for other in reworded(text) if other != text],
    }
    return {
        name: (len(found), sum(builtin(*pair) for pair in found), sum(guards(*pair) for pair in found), found)
        for name, found in pairs.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, default=DATASETS)
    parser.add_argument("--show", action="store_true", help="print pairs that passed and should not have")
    given = parser.parse_args()
    print(f"{'pairs':<42} {'count':>7} {'builtin':>16} {'guards':>16}")
    for name, (count, by_letters, by_guards, found) in measure(given.datasets).items():
        print(
            f"{name:<42} {count:>7} {by_letters:>7} {by_letters / count:>7.2%} {by_guards:>8} {by_guards / count:>7.2%}"
        )
        if given.show and name != "a prompt put otherwise":
            for one, other in found:
                if builtin(one, other) or guards(one, other):
                    print("   ", "builtin" if builtin(one, other) else "guards ", repr(one), "|", repr(other))


if __name__ == "__main__":
    main()
