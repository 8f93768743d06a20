"""The closed lists of words by which questions are told apart. English first; negations of a few other languages too.
What is in no list counts as a word that matters."""

import re
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEGATIONS: Final = _words(
    "not no never none nothing nobody nowhere neither nor without cannot cant dont doesnt didnt isnt arent wasnt werent "
    "wont wouldnt couldnt shouldnt hardly scarcely barely except excluding unless lack lacks lacking instead minus non "
    "nicht kein keine keinen keinem keiner keines nie niemals nichts ohne weder "
    "ne pas jamais sans aucun aucune rien non nunca jamás sin nada ningún ninguna não nunca sem nenhum "
    "nessun nessuno senza mai niet geen nooit zonder nie bez inte ingen aldrig utan ikke"
)
OPPOSITES: Final = _words(
    "enable enabled enabling disable disabled disabling on off open opened opening close closed closing start started "
    "starting stop stopped stopping begin end ending add added adding remove removed removing delete deleted deleting insert "
    "create created creating destroy destroyed increase increased increasing decrease decreased decreasing reduce reduced "
    "reducing raise raised raising lower lowered lowering lowest higher high highest low up down in out left right above below "
    "over under before after earlier later first last next previous past future old older oldest new newer newest young "
    "younger more most less least fewer fewest max maximum min minimum maximize minimize maximise minimise best worst "
    "better worse good bad allow allowed allowing deny denied denying forbid forbidden permit block blocked blocking "
    "unblock accept accepted reject rejected approve approved decline declined buy buying sell selling lend borrow give "
    "receive send sent push pull upload download import export encrypt decrypt encode decode compress decompress lock "
    "unlock install uninstall mount unmount login logout connect disconnect attach detach show hide visible hidden public "
    "private internal external inside outside input output read write import export true false yes always sometimes often "
    "rarely all any some every each both either only must legal illegal safe "
    "unsafe dangerous valid invalid possible impossible ascending descending ascend descend win lose won lost love hate "
    "like dislike advantage advantages disadvantage disadvantages pro pros con cons benefit benefits risk risks strength "
    "strengths weakness weaknesses cause causes caused effect effects cost costs profit loss gain hot cold warm cool fast "
    "slow faster slower long short longer shorter big small large bigger smaller larger wide narrow heavy light hard easy "
    "early late day night today tomorrow yesterday now then morning evening monday tuesday wednesday thursday friday "
    "saturday sunday january february march april june july august september october november december weekly "
    "daily monthly yearly annual hourly male female man woman men women boy girl husband wife mother father son daughter "
    "brother sister parent child he she his her him "
    "north south east west northern southern eastern western positive negative plus minus gross net include including "
    "exclude domestic international rent hire fire fired hired import enter exit arrive depart arrival departure join "
    "leave employer employee buyer seller teacher student doctor patient sender recipient debit credit lender borrower "
    "client server primary replica parent child upstream downstream horizontal vertical synchronous asynchronous active "
    "passive"
)
"""Words of which the opposite, or a neighbour that is as different, is as common in the same place."""

DIRECTIONS: Final = _words(
    "from into onto toward towards than versus vs over under against via between before after until till since within "
    "during across per if while"
)
"""Words that say which way. `to` counts beside `from` only: alone it mostly belongs to a verb."""

QUESTION_WORDS: Final = _words("who whom whose when where why many much often long far old which")
ASKING: Final = _words(
    "what who whom whose when where why how which is are am was were do does did can could will would shall should may "
    "might must has have had what's who's"
)
FUNCTION_WORDS: Final = _words(
    "a an the of to in on at for by with from as is are am was were be been being do does did has have had can could will "
    "would shall should may might must what which how who whom when where why that this these those there here and or but if "
    "then so it its i my me we us our you your , ; : - please some process way ways steps step procedure method possible "
    "want need know like help tell explain give show go about doing get someone one just really actually basically simply"
)
INSTRUCTIONS: Final = _words(
    "explain describe summarize summarise list write translate define compare provide create draft convert calculate "
    "generate rewrite outline identify elaborate give show tell help"
)
BEFORE_A: Final = _words(
    "is are was were be of for in with to write give me find make create get need want have has on at from into by like as "
    "what such"
)
NUMBER_WORDS: Final = {
    **{
        word: str(number)
        for number, word in enumerate(
            [
                "zero",
                "one",
                "two",
                "three",
                "four",
                "five",
                "six",
                "seven",
                "eight",
                "nine",
                "ten",
                "eleven",
                "twelve",
                "thirteen",
                "fourteen",
                "fifteen",
                "sixteen",
                "seventeen",
                "eighteen",
                "nineteen",
                "twenty",
            ]
        )
    },
    **{
        word: word
        for word in [
            "thirty",
            "forty",
            "fifty",
            "sixty",
            "seventy",
            "eighty",
            "ninety",
            "hundred",
            "thousand",
            "million",
            "billion",
            "trillion",
            "dozen",
            "half",
            "third",
            "quarter",
            "double",
            "twice",
            "triple",
            "once",
            "single",
            "pair",
            "second",
            "fourth",
            "fifth",
            "sixth",
            "seventh",
            "eighth",
            "ninth",
            "tenth",
            "hundreds",
            "thousands",
            "millions",
            "kilo",
            "kg",
            "km",
            "cm",
            "mm",
            "mg",
            "ml",
            "percent",
            "%",
            "$",
            "€",
            "£",
            "°",
        ]
    },
}
"""Numbers in words, and signs and units that make another number of one."""

SHORT_FORMS: Final = {
    **{f"{who}'s": (who, "is") for who in ("what", "who", "where", "how", "when", "it", "that", "there", "here")},
    **{f"{who}'re": (who, "are") for who in ("you", "we", "they", "what", "who")},
    **{f"{who}'ll": (who, "will") for who in ("i", "you", "he", "she", "it", "we", "they", "that")},
    **{f"{who}'ve": (who, "have") for who in ("i", "you", "we", "they", "should", "would", "could")},
    "i'm": ("i", "am"),
    "can't": ("can", "not"),
    "cannot": ("can", "not"),
    "won't": ("will", "not"),
    "shan't": ("shall", "not"),
    "let's": ("let", "us"),
}
COURTESIES: Final = re.compile(
    r"^(?:(?:hi|hello|hey|hi there|hello there|good (?:morning|afternoon|evening))[,!.]+\s+|(?:please|kindly),?\s+)"
    r"|(?:[,.;!]?\s+(?:please|thanks|thank you|thanks in advance|thank you in advance|many thanks|thx)\s*[.!?]*)$",
    re.IGNORECASE,
)
AMBIGUOUS: Final = _words(
    "us it who may march august polish turkey china chile jordan georgia will mark bill frank rich grace hope rose jack "
    "apple amazon oracle python java go rust swift ruby shell meta word excel access teams windows office edge chrome "
    "safari target gap orange visa ford mercury mars venus earth sun may june april nice reading bath cork hamburg cologne "
    "guinea limerick brazil swede dane finn pole turk drew dick rob sue pat gene dawn faith joy lily violet daisy olive "
    "amber ruby pearl jade crystal iris ivy hazel ginger basil herb miles art max ray jay guy lance chase chuck grant ward "
    "dean duke earl king prince baker cook smith miller carpenter hunter fisher potter mason taylor turner walker parker "
    "slack notion linear stripe square block zoom box spark storm hive pig kafka flask express react angular vue spring "
    "bean mint arch fedora debian tor signal telegram line discord twitch snap uber lyft tesla dell acer intel nest ring "
    "echo alexa cat sat act it's pt or hi me in oh ok id la pa ma ms mr al ad pm am"
)
"""Words that are a name, or an abbreviation, with a capital and something else without."""
