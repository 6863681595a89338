"""What is asked of a model of sentences: reconstruction, KL and perplexity, apart from one another."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snrkit.core.tokens import PAD
from snrkit.errors import CapabilityError
from snrkit.evaluation.score import Score
from snrkit.models.base import LatentModel
from snrkit.models.state import in_mode
from snrkit.types import Array

# Points whose proposals are computed at once.
_AT_ONCE = 256
_AVERAGES = {
    "reconstruction": "E_q log p(x|z) = elbo + kl, nats per sentence",
    "kl": "KL(q(z|x), p(z)) in closed form, nats per sentence; in the elbo at weight 1",
}


@dataclass(frozen=True)
class SentenceScores:
    """Per sentence, each ``[N]``.

    Attributes:
        words: words and the end, which perplexities are per.
        kl: KL(q(z|x), p(z)) in closed form, nats; None where it has none.
        elbo: nats, with the full weight on the KL and all words given.
        log_p: estimate of log p(x), nats.
    """

    words: Array
    kl: Array | None
    elbo: Array
    log_p: Array

    @property
    def averages(self) -> dict[str, Array]:
        """E_q log p(x|z), which is ELBO and KL added up, and the KL, where it has a closed form."""
        return {} if self.kl is None else {"reconstruction": self.elbo + self.kl, "kl": self.kl}

    @property
    def columns(self) -> dict[str, Array]:
        """What each sentence has beside its bounds, by the names of columns."""
        return {**self.averages, "words": self.words.astype(np.int64)}


def sentence_scores(model: LatentModel, x: Tensor, elbo: Array, log_p: Array) -> SentenceScores:
    """What each sentence has, whatever weight of the KL or share of words the model was trained with.

    Args:
        model: the model.
        x: token numbers ``[N, L]``.
        elbo: of each, nats, ``[N]``.
        log_p: likewise.
    """
    try:
        kl = _kl(model, x)
    except CapabilityError:
        kl = None
    return SentenceScores((x != PAD).sum(dim=-1).double().cpu().numpy(), kl, elbo, log_p)


@torch.no_grad()
def _kl(model: LatentModel, x: Tensor) -> Array:
    parts = []
    with in_mode(model, "evaluation"):
        for own in torch.split(x, _AT_ONCE):
            posterior = model.proposal(own)
            z = posterior.sample(own.new_zeros(len(own), 1, 1, *posterior.noise_shape))
            kl = model.kl_to_prior(posterior, z)
            if kl.shape != (len(own), 1, 1):
                raise CapabilityError("kl", "depends on the sample", "average it over samples")
            parts.append(kl.flatten())
    found: Array = torch.cat(parts).double().cpu().numpy()
    return found


def summarise_sentences(found: SentenceScores, samples: int, text: str) -> list[Score]:
    """Means over sentences, and perplexities.

    Args:
        found: of each sentence.
        samples: importance samples behind ``log_p``.
        text: what the sentences are; perplexities of other texts are on another scale.
    """
    count = f"{int(found.words.sum()):,} words and ends"
    of = f"per word of {text}"
    by_log_p = f"{of}: exp(-sum of log_p over {count}), log_p from {samples} samples"
    by_elbo = f"{of}: exp(-sum of elbo over {count}), an upper bound of perplexity"
    return [
        *(Score.average(name, values, _AVERAGES[name]) for name, values in found.averages.items()),
        perplexity("perplexity", found.log_p, found.words, by_log_p),
        perplexity("perplexity_elbo", found.elbo, found.words, by_elbo),
    ]


def perplexity(metric: str, logs: Array, words: Array, definition: str) -> Score:
    """exp(-sum of log probabilities / sum of words), with the standard error of a ratio of two means over sentences.

    Args:
        metric: its name.
        logs: log probability of each sentence, nats, ``[N]``.
        words: words and ends of each, ``[N]``.
        definition: what it is.
    """
    if not np.isfinite(logs).all():
        return Score(metric, math.inf, math.nan, f"{definition}; infinite, since some weights are zero")
    per_word = -logs.sum() / words.sum()
    residual = -logs - per_word * words
    error = residual.std(ddof=1) / math.sqrt(len(words)) / words.mean()
    value = math.exp(min(per_word, math.log(np.finfo(float).max)))
    return Score(metric, value, float(value * error), definition)
