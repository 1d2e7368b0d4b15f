"""The quality record and its file."""

from edgellm.records import codec
from edgellm.records.quality import Evaluated, Interval, Quality, TextUsed, WindowScore
from edgellm.records.samples import Unavailable

ALONE = Quality(
    model=Evaluated("smol", "ab" * 32),
    text=TextUsed("text.txt", "cd" * 32, 11, 10),
    context_tokens=8,
    stride_tokens=4,
    feeding="token-by-token",
    windows=(WindowScore(7, 14.0), WindowScore(3, 6.5)),
    perplexity=7.77,
)
COMPARED = Quality(
    model=Evaluated("small", "ef" * 32),
    text=ALONE.text,
    context_tokens=8,
    stride_tokens=4,
    feeding="prefill",
    windows=(WindowScore(7, 14.0, 13.5),),
    perplexity=7.77,
    reference=ALONE.model,
    reference_perplexity=7.5,
    perplexity_ratio=Interval(1.036, 1.01, 1.06),
    kl_divergence=0.02,
    kl_divergence_p99=0.3,
    kl_divergence_max=0.5,
    top1_agreement=0.9,
    unavailable=(Unavailable("x", "why"),),
)


def test_records_survive_their_files() -> None:
    for quality in (ALONE, COMPARED):
        assert codec.loads(Quality, codec.dumps(quality), "quality.json") == quality
