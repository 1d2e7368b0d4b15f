"""A prompt of an exact number of tokens, cut from a text that ships with the package."""

from tokenizers import Tokenizer

from edgellm.errors import UsageError

TEXT = (
    "A processor does its work in steps, and a clock tells it when to take the next one. The "
    "clock is a plain thing: a crystal that is made to swing, and a circuit that counts the "
    "swings and passes some of them on. What can be done between two of them is little. Two "
    "numbers are added, or a value is fetched that lies close by, or a decision is made about "
    "where to go on. Everything that a machine does in a second, from drawing a letter to "
    "answering a question, is a long row of such small acts. When the row is too long, there "
    "are two ways to be done sooner. One is to make the clock swing faster, which costs heat. "
    "The other is to ask for less: to leave out the acts that change nothing, to use smaller "
    "numbers where large ones are not needed, and to keep close by what will be wanted again. "
    "The second way has no limit that anyone has found. It only asks that somebody looks at "
    "where the time goes, and counts. "
)


def ids(tokenizer: Tokenizer, tokens: int) -> list[int]:
    """Return the first ``tokens`` token ids of the text, repeated as often as it takes."""
    found: list[int] = []
    text = TEXT
    while len(found) < tokens:
        found = tokenizer.encode(text).ids
        text += text
    return found[:tokens]


def of_length(tokenizer: Tokenizer, tokens: int) -> str:
    """Return a text that the tokenizer cuts into exactly ``tokens`` tokens.

    Raises:
        UsageError: No beginning of the text has that many, which a very short length can cause.
    """
    text = TEXT
    while len(tokenizer.encode(text).ids) < tokens:
        text += TEXT
    # A token may be cut in two where the text ends inside it, so ends close by are tried too.
    ends = sorted({end for _, end in tokenizer.encode(text).offsets})
    near = sorted(range(len(ends)), key=lambda i: abs(i + 1 - tokens))[:8]
    for i in near:
        if len(tokenizer.encode(text[: ends[i]]).ids) == tokens:
            return text[: ends[i]]
    raise UsageError(
        f"no prompt of exactly {tokens} tokens was found for this tokenizer; "
        f"try --prompt-tokens {tokens + 1}"
    )
