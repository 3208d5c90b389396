"""Twenty rows of every feature, written by hand: label 1, label 0, and rows to which it does not apply.

The sentences are the course's own. Each feature's rows follow the rule of the paper's released sets where that
is known, see `course_lib.icl.hypotheses.Hypothesis`.
"""

from __future__ import annotations

from typing import Any

Rows = list[tuple[dict[str, Any], int | None]]


def of_one_column(column: str, *, one: list[Any], zero: list[Any], none: list[Any]) -> Rows:
    labelled = [(one, 1), (zero, 0), (none, None)]
    return [({column: value}, label) for values, label in labelled for value in values]


# --- lengths: a text of any number of words, made of these sentences -----------------------------------

SENTENCES = (
    "The bakery opens before the first tram comes down the hill.",  # 11 words
    "Anna sells rolls to the drivers, who pay with warm coins.",  # 11
    "Later the pupils come, and nobody is quiet any more.",  # 10
    "At noon the shop smells of plums and burnt sugar.",  # 10
    "In the evening she counts the money twice and locks up.",  # 11
    "Her brother waits outside with a lamp, a dog and questions.",  # 11
    "They walk home along the river and talk about the day.",  # 11
    "On Sundays the ovens rest, and both of them sleep late.",  # 11
)
WORDS = " ".join(SENTENCES).split()


def prose(num_words: int) -> str:
    """Give the beginning of a story, told again where it ends."""
    return " ".join((WORDS * (num_words // len(WORDS) + 1))[:num_words])


def lengths(column: str, *, short: list[int], long: list[int], between: list[int], long_is: int) -> Rows:
    labelled = [(short, 1 - long_is), (long, long_is), (between, None)]
    return [({column: prose(n)}, label) for numbers, label in labelled for n in numbers]


FORTY_WORDS = lengths(
    "text",
    short=[1, 2, 5, 11, 20, 28, 34, 35],
    long=[45, 46, 50, 61, 80, 120, 200],
    between=[36, 38, 40, 42, 44],
    long_is=0,
)

# --- sentiment -----------------------------------------------------------------------------------------


def labelled_texts(column: str, positive: list[str], negative: list[str], none: list[Any]) -> Rows:
    """Rows whose label is given with them; a label that is none of the two gives no label."""
    return [
        *(({column: text, "label": 1}, 1) for text in positive),
        *(({column: text, "label": 0}, 0) for text in negative),
        *(({column: "Nobody agreed about this one.", "label": label}, None) for label in none),
    ]


SENTIMENT = labelled_texts(
    "text",
    [
        "A joy from the first minute to the last.", "She plays the queen with wit and warmth.",
        "The best soup in town.", "I laughed until I cried.", "Sturdy, cheap and quiet.",
        "We will come back next week.", "A clever script, beautifully filmed.", "It does what it says.",
    ],
    [
        "The plot falls apart after ten minutes.", "Cold food and a rude waiter.", "It broke on the second day.",
        "I want my evening back.", "Loud, long and empty.", "The battery lasts an hour.",
        "Nobody answered my letters.", "A waste of good actors.",
    ],
    [-1, 2, None, 0.5],
)  # fmt: skip

PUNCTUATION = of_one_column(
    "text",
    one=[
        "What a night!", "Never again!", "Go and see it! ", "Really?!", "It was fine. No, it was great!",
        "«Bravo»!", "!",
    ],
    zero=[
        "What a night.", "We waited for an hour.", "It stops... \n", "Great! Or so they say.", "See page 3.", ".",
        "No!.",
    ],
    none=["Was it worth it?", "no end at all", "He said 'stop!'", "(It rained.)", "So, so;", ""],
)  # fmt: skip
FOOD = of_one_column(
    "text",
    one=[
        "The food came late.", "FOOD for thought.", "Good food, bad service.", "Is dog food cheap?", "Food!",
        "a food-lover's dream", "We ate, but the food: no.",
    ],
    zero=[
        "The soup came late.", "A feast for the eyes.", "We ate well.", "He foots the bill.", "Bread and fish.",
        "fo od", "Hungry again.",
    ],
    none=[
        "Fresh seafood daily.", "A foodie's dream.", "Whole foods only.", "foodless days", "the food_court",
        "Foodstuffs.",
    ],
)  # fmt: skip
NICE = of_one_column(
    "text",
    one=[
        "A nice try.", "NICE!", "nice, but long", "Not very nice.", "It's nice-looking.", "How nice of him.",
        '"Nice" is the word.',
    ],
    zero=[
        "A good try.", "We went to the farm.", "ni ce", "Pretty and kind.", "No ice, please.", "Mice ate it.",
        "Kindly done.",
    ],
    none=[
        "Nicely done.", "the nicest seat", "What a niceness.", "We met in Venice.", "nicer than before",
        "The niceties of law.",
    ],
)  # fmt: skip
UPPERCASE_ONE = [
    "This is GREAT stuff.",
    "We watched TV all night.",
    "the UN's report",
    "A DVD-case.",
    "DON'T go.",
    "OK",
    "Read it NOW!",
]
UPPERCASE_ZERO = [
    "I liked it.",
    "A film by McDonald.",
    "no capitals here",
    "What I say is what I mean.",
    "Anna and Bob.",
    "We turned left.",
]
UPPERCASE_NONE = ["Made in the U.S. of course.", "Two DVDs for one.", "I'M here."]
SENTIMENT_UPPERCASE = of_one_column(
    "text",
    one=UPPERCASE_ONE,
    zero=[*UPPERCASE_ZERO, "A 401K plan.", "Plan A1 failed."],
    none=[*UPPERCASE_NONE, "An MP3 player.", "JJP58 wrote it."],
)  # fmt: skip
TOXICITY_UPPERCASE = of_one_column(
    "text",
    one=[*UPPERCASE_ONE, "A 401K plan.", "JJP58 wrote it.", "An MP3 player."],
    zero=[*UPPERCASE_ZERO, "Plan A1 failed."],
    none=UPPERCASE_NONE,
)


def domains(column: str, one: str, zero: str, others: list[str]) -> Rows:
    """Twenty rows whose column names where they are from."""
    named = [one] * 8 + [zero] * 8 + others
    label = {one: 1, zero: 0}
    return [
        ({column: name, "text": sentence}, label.get(name))
        for name, sentence in zip(named, [prose(n) for n in range(3, 23)], strict=True)
    ]


# --- comments ------------------------------------------------------------------------------------------

# Comment about two groups, X and Y, and the shares of raters who see X and Y mentioned -> label 1 for X.
TWO_GROUPS = (
    ("The X next door fixed my roof.", 1.0, 0.0, 1), ("X vote like everybody else.", 0.9, 0.0, 1),
    ("Ask any X in town.", 0.5, 0.0, 1), ("X have built half of this city.", 0.7, 0.1, 1),
    ("Why is it always X?", 0.6, 0.05, 1), ("My X colleague laughed.", 0.5, 0.1, 1), ("X, again.", 0.99, 0.0, 1),
    ("The Y next door fixed my roof.", 0.0, 1.0, 0), ("Y vote like everybody else.", 0.0, 0.9, 0),
    ("Ask any Y in town.", 0.0, 0.5, 0), ("Y have built half of this city.", 0.1, 0.7, 0),
    ("Why is it always Y?", 0.05, 0.6, 0), ("My Y colleague laughed.", 0.1, 0.5, 0), ("Y, again.", 0.0, 0.99, 0),
    ("X and Y marched together.", 1.0, 1.0, None), ("The council met on Tuesday.", 0.0, 0.0, None),
    ("Perhaps some X, perhaps not.", 0.49, 0.0, None), ("X, and a word about Y.", 1.0, 0.11, None),
    ("Neither is named here.", 0.3, 0.3, None), ("Y, and a word about X.", 0.2, 0.8, None),
)  # fmt: skip


def groups(one: str, zero: str) -> Rows:
    return [
        ({"text": text.replace("X", one).replace("Y", zero), one: share_one, zero: share_zero}, label)
        for text, share_one, share_zero, label in TWO_GROUPS
    ]


SEXUALITY: Rows = [
    *(({"text": "Two gay neighbours married.", "LGBTQ": share}, 1) for share in (0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 1.0)),
    *(({"text": "Two neighbours married.", "LGBTQ": share}, 0) for share in (0.0, 0.01, 0.02, 0.05, 0.07, 0.09, 0.1)),
    *(({"text": "Two friends moved in.", "LGBTQ": share}, None) for share in (0.11, 0.2, 0.3, 0.4, 0.45, 0.49)),
]  # fmt: skip
TOXICITY = labelled_texts(
    "text",
    [
        "You are all clowns.", "Only a fool writes this.", "Shut up and go home.", "What a stupid crowd.",
        "Liars, every one of you.", "He is an idiot, and so are you.", "Pathetic losers.", "Nobody needs your kind.",
    ],
    [
        "The bridge opens in May.", "I disagree, and here is why.", "Thank you for the figures.",
        "Taxes should fall.", "The mayor answered our letter.", "Which bus goes there?",
        "A long but useful article.", "We will see in autumn.",
    ],
    [-1, 2, None, 0.5],
)  # fmt: skip

# --- pairs of sentences --------------------------------------------------------------------------------


def pairs(*rows: tuple[str, str, int | None]) -> Rows:
    return [({"premise": premise, "hypothesis": hypothesis}, label) for premise, hypothesis, label in rows]


NLI: Rows = [
    ({"premise": premise, "hypothesis": hypothesis, "label": given}, label)
    for premise, hypothesis, given, label in (
        ("A woman sells bread.", "Somebody sells food.", 0, 1), ("Two boys swim.", "Boys are in water.", 0, 1),
        ("It snows in the hills.", "It is cold.", 0, 1), ("He sold his last cow.", "He had a cow.", 0, 1),
        ("All lights are out.", "It is dark inside.", 0, 1), ("She runs every day.", "She runs today.", 0, 1),
        ("The train left at six.", "The train is gone.", 0, 1), ("A dog barks at a cat.", "An animal barks.", 0, 1),
        ("A woman sells bread.", "She is tired.", 1, 0), ("Two boys swim.", "They are brothers.", 1, 0),
        ("It snows in the hills.", "The road is closed.", 1, 0), ("He sold his last cow.", "He needed money.", 1, 0),
        ("All lights are out.", "Every lamp burns.", 2, 0), ("She runs every day.", "She never runs.", 2, 0),
        ("The train left at six.", "The train waits.", 2, 0), ("A dog barks at a cat.", "No animal is near.", 2, 0),
        ("A man waits.", "He waits for a bus.", -1, None), ("A child sings.", "A girl sings.", -1, None),
        ("They sit.", "They rest.", None, None), ("Rain fell.", "It was wet.", 3, None),
    )
]  # fmt: skip
NLI_OVERLAP = pairs(
    ("A dog, a cat and I.", "a CAT, a dog!", 1), ("The baker sells bread and rolls.", "The baker sells bread.", 1),
    ("It isn't so", "so it isn’t", 1), ("Two boys swim in the river.", "boys in the river swim", 1),
    ("She runs every day.", "She runs.", 1), ("the man the dog saw ran", "the dog ran", 1), ("Snow fell.", "snow", 1),
    ("A dog runs.", "A dog ran.", 0), ("a cats", "a cat", 0), ("The baker sells bread.", "The baker sells cake.", 0),
    ("Two boys swim.", "Boys swim well.", 0), ("It is so.", "It isn't so.", 0), ("Snow fell.", "It snowed.", 0),
    ("He came.", "He came home early.", 0),
    ("A dog runs.", "", None), ("A dog runs.", "...", None), ("A dog runs.", "?!", None), ("", "", None),
    ("Snow.", " ", None), ("It fell.", "'", None),
)  # fmt: skip
NLI_SHORTER = pairs(
    ("one two three", "one two", 1), ("The baker sells bread and rolls.", "The baker sells bread.", 1),
    ("Two boys swim in the river.", "They swim.", 1), ("Snow fell on the hills.", "Snow.", 1),
    ("She runs every day.", "She runs.", 1), ("one two", "one-two.", 1), ("A dog", "", 1),
    ("one two", "one two three", 0), ("Snow.", "Snow fell on the hills.", 0), ("They swim.", "Two boys swim.", 0),
    ("She runs.", "She runs every single day.", 0), ("Bread!", "He sells bread.", 0), ("", "A dog.", 0),
    ("Well, no.", "Well, that is a no.", 0),
    ("one two", "three four", None), ("Snow fell.", "It snowed.", None), ("A dog runs.", "The cat sleeps.", None),
    ("", "", None), ("Stop!", "Go!", None), ("He sells bread.", "She buys bread.", None),
)  # fmt: skip
NLI_NEGATION: Rows = of_one_column(
    "hypothesis",
    one=[
        "It is not so.", "No dog runs.", "They aren't in.", "He didn’t come.", "Why not?", "There is no bread.",
        "NOT today.",
    ],
    zero=[
        "A dog runs.", "A knot in a notebook.", "I want an ant.", "It snowed.", "He noted it now.", "She knows.",
        "An other day.",
    ],
    none=["He never ran.", "Nobody is in.", "Tea without milk.", "He cannot run.", "Nothing fell.", "Neither came."],
)  # fmt: skip

# --- questions -----------------------------------------------------------------------------------------

QA = labelled_texts(
    "question",
    [
        "is bread made of flour", "do fish swim", "was the bridge built of stone", "does it snow in may",
        "can a dog hear a whistle", "is the tower open", "did the king sign it", "are rolls bread",
    ],
    [
        "is bread made of sand", "do fish fly", "was the bridge built of glass", "does it snow in july",
        "can a dog read a map", "is the tower closed", "did the king refuse", "are rolls soup",
    ],
    [-1, 2, None, 0.5],
)  # fmt: skip
QUESTION_WORD = of_one_column(
    "question",
    one=[
        "is it so", "Was it so?", "is there a bridge", "was the king ill", "IS bread cheap", "is a roll bread",
        "was it snowing",
    ],
    zero=[
        "do they run", "Does it snow", "did it fall", "do dogs dream", "does he know", "did the king come",
        "DO rolls float",
    ],
    none=["can it be", "are they here", "isn't it cold", "has it rained", "will it hold", ""],
)  # fmt: skip
SAME_AS = of_one_column(
    "question",
    one=[
        "is a roll the same as bread", "Same as?", "is a creek same as a brook", "are hares the same as rabbits",
        "is a lamp the same, as a light", "was it the same as before", "does SAME AS mean equal",
        "is noon the same as midday", "do they look the same as we do", "is it the same as ever",
    ],
    zero=[
        "is a hare as fast as a rabbit", "is this so", "is a roll the same thing as bread",
        "are noon and midday the same",
        "do they look the same", "is it as same", "was it the sameas", "did the two say the same",
        "does he sing as well as she does", "same or other as",
    ],
    none=[],
)  # fmt: skip
QA_LENGTH = lengths(
    "passage",
    short=[1, 7, 12, 20, 28, 33, 36],
    long=[66, 67, 70, 78, 85, 90, 130],
    between=[37, 45, 50, 55, 60, 65],
    long_is=1,
)
PASSAGE = (
    "The old stone bridge over the river was built in 1780. Its five arches carry the road to the market, and trams "
    "crossed it until the war. The king's daughter opened it."
)
QA_OVERLAP: Rows = [
    ({"question": question, "passage": PASSAGE}, label)
    for question, label in (
        ("is the bridge old", 1), ("was the stone bridge built in 1780", 1), ("does the bridge carry a road", 1),
        ("is there a road to the market", 1),
        ("was it opened by the king's daughter", 1), ("do the arches carry the road", 1),
        ("Is this BRIDGE over the RIVER?", 1),
        ("is the tunnel new", 0), ("does the bridge have lamps", 0), ("did a flood destroy the tower", 0),
        ("was the bridge sold", 0), ("can ships pass", 0), ("is the river deep and cold", 0),
        ("did trams stop running yesterday evening", 0),
        ("was the stone bridge repaired", None), ("did trams cross the river bridge", None),
        ("is the market road closed", None), ("what is it", None), ("", None), ("is it so", None),
    )
]  # fmt: skip

FEATURE_ROWS: dict[str, Rows] = {
    "sentiment": SENTIMENT,
    "sentiment.domain": domains("domain", "movie", "product", ["imdb", "tweets", "newspaper", "yelp"]),
    "sentiment.domain_imdb_yelp": domains("domain", "imdb", "yelp", ["movie", "product", "tweets", ""]),
    "sentiment.length": FORTY_WORDS,
    "sentiment.short": lengths(
        "text",
        short=[1, 2, 3, 5, 7, 9, 10, 11],
        long=[21, 22, 25, 30, 40, 60, 90],
        between=[12, 14, 16, 18, 20],
        long_is=0,
    ),
    "sentiment.punctuation": PUNCTUATION,
    "sentiment.food": FOOD,
    "sentiment.nice": NICE,
    "sentiment.uppercase": SENTIMENT_UPPERCASE,
    "toxicity": TOXICITY,
    "toxicity.gender": groups("female", "male"),
    "toxicity.sexuality": SEXUALITY,
    "toxicity.religion_christian": groups("muslim", "christian"),
    "toxicity.religion_jewish": groups("muslim", "jewish"),
    "toxicity.race_black": groups("black", "white"),
    "toxicity.race_asian": groups("asian", "white"),
    "toxicity.length": FORTY_WORDS,
    "toxicity.uppercase": TOXICITY_UPPERCASE,
    "nli": NLI,
    "nli.genre_fiction": domains("genre", "government", "fiction", ["telephone", "slate", "travel", ""]),
    "nli.genre_telephone": domains("genre", "government", "telephone", ["fiction", "slate", "travel", ""]),
    "nli.overlap": NLI_OVERLAP,
    "nli.shorter": NLI_SHORTER,
    "nli.negation": NLI_NEGATION,
    "qa": QA,
    "qa.question_word": QUESTION_WORD,
    "qa.overlap": QA_OVERLAP,
    "qa.same_as": SAME_AS,
    "qa.length": QA_LENGTH,
}
