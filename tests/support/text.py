"""A small text that a grammar makes: sentences on one of a few topics, which choose their words."""

import numpy as np

TOPICS = {
    "sea": (["sailor", "captain", "fisher"], ["sees", "steers", "mends"], ["ship", "net", "sail", "wave"], "at sea"),
    "farm": (["farmer", "shepherd", "baker"], ["feeds", "milks", "grinds"], ["cow", "lamb", "corn", "hen"], "on land"),
    "town": (["judge", "merchant", "clerk"], ["counts", "weighs", "writes"], ["coin", "letter", "law", "debt"], "in town"),
    "sky": (["pilot", "eagle", "cloud"], ["crosses", "follows", "hides"], ["sun", "moon", "star", "wind"], "up high"),
}  # fmt: skip
HOW = ["old", "young", "tall", "quiet", "proud", "tired"]
WHEN = ["today", "at night", "every day", "in winter", "before dawn", "once more"]


def lines(count: int = 1500, seed: int = 0) -> list[str]:
    """Sentences of 5 to 14 words and marks, of fewer than 80 words in all."""
    generator = np.random.default_rng(seed)

    def one(choices: list[str]) -> str:
        return choices[generator.integers(len(choices))]

    found = []
    for _ in range(count):
        who, does, what, where = TOPICS[one(list(TOPICS))]
        text = f"The {one(HOW)} {one(who)} {one(does)} the {one(what)} {where}"
        if generator.random() < 0.5:
            text = f"{text} and {one(does)} the {one(HOW)} {one(what)}"
        found.append(f"{text} {one(WHEN)}.")
    return found


def write(folder, count: int = 1500, seed: int = 0):
    """The path of a file with such sentences."""
    path = folder / "grammar.txt"
    path.write_text("\n".join(lines(count, seed)) + "\n", encoding="utf-8")
    return path
