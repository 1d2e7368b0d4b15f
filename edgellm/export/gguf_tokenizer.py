"""Tokenizers of GGUF files, rebuilt so that they give llama.cpp's token ids.

A file holds the vocabulary, merges or scores, and the *name* of a rule that splits text before
merging; the rules stand in ``PRE_TOKENIZERS``, after llama.cpp's ``llama-vocab.cpp``. A file
whose rule is not known is refused, since any other rule gives plausible and wrong ids.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from edgellm.errors import BundleInvalid, UnsupportedModel
from edgellm.export.gguf_file import GgufFile

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4  # tokenizer.ggml.token_type
SPACE = "\u2581"  # how SentencePiece writes a space

_CONTRACTIONS = r"'s|'t|'re|'ve|'m|'ll|'d"
_ANY_CASE = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_GPT2 = rf"{_CONTRACTIONS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)"
_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_TAIL}"
_QWEN2 = rf"{_ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_TAIL}"


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """How text is split before merging.

    Attributes:
        splits: Regular expressions applied one after another, each to the pieces of the last.
        whole_words: A piece that is a token is taken whole, whatever the merges say.
        adds_bos: Text starts with BOS where the file does not say otherwise.
    """

    splits: tuple[str, ...]
    whole_words: bool = False
    adds_bos: bool = False


_SMOLLM = PreTokenizer((r"\p{N}", _GPT2))
_LLAMA_BPE = PreTokenizer((_LLAMA3,), whole_words=True, adds_bos=True)

PRE_TOKENIZERS = {
    "gpt-2": PreTokenizer((_GPT2,)),
    "phi-2": PreTokenizer((_GPT2,)),
    "olmo": PreTokenizer((_GPT2,)),
    "mpt": PreTokenizer((_GPT2,)),
    "smollm": _SMOLLM,
    "starcoder": _SMOLLM,
    "refact": _SMOLLM,
    "command-r": _SMOLLM,
    "llama-bpe": _LLAMA_BPE,
    "llama3": _LLAMA_BPE,
    "llama-v3": _LLAMA_BPE,
    "dbrx": PreTokenizer((_LLAMA3,)),
    "smaug-bpe": PreTokenizer((_LLAMA3,)),
    "qwen2": PreTokenizer((_QWEN2,)),
    "stablelm2": PreTokenizer((_QWEN2,)),
    "deepseek-r1-qwen": PreTokenizer((_QWEN2,)),
    "default": PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")),
}


def rebuild_tokenizer(file: GgufFile) -> Tokenizer:
    """Build a file's tokenizer.

    Control and user-defined tokens are recognized in text; BOS is added where the file, or the
    convention of its tokenizer, says so, and nowhere else.

    Raises:
        BundleInvalid: The vocabulary is missing or contradicts itself.
        UnsupportedModel: The kind of tokenizer, or its splitting rule, is not known.
    """
    kind = file.metadata.get("tokenizer.ggml.model")
    if kind not in BUILDERS:
        raise UnsupportedModel(
            f"{file.path.name} has a tokenizer of kind {kind!r}; edgellm rebuilds "
            f"{' and '.join(sorted(BUILDERS))}, for others use the model's Hugging Face folder"
        )
    tokens = _tokens(file)
    tokenizer, adds_bos = BUILDERS[kind](file, tokens)
    for add, wanted in (
        (tokenizer.add_special_tokens, (CONTROL, UNKNOWN)),
        (tokenizer.add_tokens, (USER_DEFINED,)),
    ):
        special = CONTROL in wanted
        add([AddedToken(t, special=special, normalized=False) for t in _of(file, tokens, wanted)])
    if file.metadata.get("tokenizer.ggml.add_bos_token", adds_bos):
        bos = file.integer("tokenizer.ggml.bos_token_id", 1)
        tokenizer.post_processor = _bos_first(file, tokens, bos)
    return tokenizer


def end_ids(file: GgufFile) -> tuple[int, ...]:
    """Return the ids that the file itself names as ends of a text, a turn or a message."""
    keys = (f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom"))
    return tuple(file.metadata[key] for key in keys if key in file.metadata)


def _tokens(file: GgufFile) -> list[str]:
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    types = file.metadata.get("tokenizer.ggml.token_type", tokens)
    if not tokens or len(types) != len(tokens) or len(set(tokens)) != len(tokens):
        raise BundleInvalid(
            f"{file.path.name} has a vocabulary that is missing or contradicts itself: "
            "it is damaged, download it again"
        )
    return list(tokens)


def _of(file: GgufFile, tokens: list[str], wanted: Iterable[int]) -> list[str]:
    types = file.metadata.get("tokenizer.ggml.token_type", [NORMAL] * len(tokens))
    return [token for token, kind in zip(tokens, types, strict=True) if kind in wanted]


def _bos_first(file: GgufFile, tokens: list[str], bos: int) -> Any:
    if bos >= len(tokens):
        raise BundleInvalid(f"{file.path.name} names token {bos} of {len(tokens)} as BOS")
    return processors.TemplateProcessing(
        single=f"{tokens[bos]} $A",
        pair=f"{tokens[bos]} $A {tokens[bos]} $B",
        special_tokens=[(tokens[bos], bos)],
    )


def _byte_level(file: GgufFile, tokens: list[str]) -> tuple[Tokenizer, bool]:
    name = file.metadata.get("tokenizer.ggml.pre")
    if name not in PRE_TOKENIZERS:
        raise UnsupportedModel(
            f"{file.path.name} splits text by the rule {name!r} (tokenizer.ggml.pre), which "
            "edgellm does not know; use the model's Hugging Face folder"
        )
    rule = PRE_TOKENIZERS[name]
    merges = []
    for merge in file.metadata.get("tokenizer.ggml.merges", ()):
        left, _, right = merge[1:].partition(" ")  # the first character is never the separator
        merges.append((merge[:1] + left, right))
    tokenizer = Tokenizer(_bpe(file, tokens, merges, ignore_merges=rule.whole_words))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(split), "isolated") for split in rule.splits),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, rule.adds_bos


def _sentencepiece(file: GgufFile, tokens: list[str]) -> tuple[Tokenizer, bool]:
    scores = file.metadata.get("tokenizer.ggml.scores", ())
    if len(scores) != len(tokens):
        raise BundleInvalid(
            f"{file.path.name} has {len(scores)} scores for {len(tokens)} tokens: it is damaged"
        )
    normal = set(_of(file, tokens, (NORMAL,)))
    ranked = {t: score for t, score in zip(tokens, scores, strict=True) if t in normal}
    unknown = next(iter(_of(file, tokens, (UNKNOWN,))), None)
    model = _bpe(
        file, tokens, merges_of(ranked), unk_token=unknown, fuse_unk=True, byte_fallback=True
    )
    tokenizer = Tokenizer(model)
    prefixed = file.metadata.get("tokenizer.ggml.add_space_prefix", True)
    prepend = [normalizers.Prepend(SPACE)] if prefixed else []
    strip = [decoders.Strip(" ", 1, 0)] if prefixed else []
    tokenizer.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return tokenizer, True


def merges_of(scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return the merges that a SentencePiece BPE vocabulary implies, best score first.

    SentencePiece joins the neighbours whose union scores best, so each way to cut a token into
    two tokens is a merge with the rank of its union.
    """
    merges = []
    for token in sorted(scores, key=lambda token: -scores[token]):
        pairs = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        merges += [pair for pair in pairs if pair[0] in scores and pair[1] in scores]
    return merges


def _bpe(
    file: GgufFile, tokens: list[str], merges: list[tuple[str, str]], **options: Any
) -> models.BPE:
    vocabulary = {token: number for number, token in enumerate(tokens)}
    try:
        return models.BPE(vocabulary, merges, **options)
    except Exception as error:  # tokenizers raises bare Exception
        raise BundleInvalid(
            f"{file.path.name} has merges that do not fit its vocabulary ({error}): "
            "it is damaged, download it again"
        ) from error


BUILDERS = {"gpt2": _byte_level, "llama": _sentencepiece}
