"""Sentences with one normal latent variable: an LSTM each way, word dropout, greedy and sampled decoding.

After Bowman et al. 2015, Generating sentences from a continuous space.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import log_softmax, softplus

from snrkit.core.streams import Streams
from snrkit.core.tokens import EOS, PAD, UNK, readable
from snrkit.models.base import Posterior, parse_options
from snrkit.models.densities import DiagonalNormal, standard_normal_log_prob
from snrkit.models.lstm import Lstm
from snrkit.models.standard import StandardNormalPrior
from snrkit.models.summary import DataSummary
from snrkit.specs.base import Positive, Spec


class SentenceOptions(Spec):
    """Options of ``sentence``.

    Attributes:
        embed: width of the word vectors, of which each network has its own.
        hidden: width of both LSTMs.
        latent: dimension of z.
        keep: share of the words that the decoder is given in training to predict the next from, the others being unknown
            to it (word dropout); in evaluation it is given all. 0: it is never given any, neither in training nor in
            evaluation (Bowman's inputless decoder).
    """

    embed: Positive = 128
    hidden: Positive = 256
    latent: Positive = 32
    keep: Annotated[float, Field(ge=0, le=1)] = 1.0


@dataclass(frozen=True)
class WithDropout:
    """A normal proposal; behind each sample come the numbers that say which words are dropped, unchanged.

    They have the same law under the model and under the proposal, so their density cancels in log w and is in neither.

    Attributes:
        normal: of z.
        dropped: how many numbers come behind z.
    """

    normal: DiagonalNormal
    dropped: int

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """``(D + L,)``."""
        return (self.normal.loc.shape[-1] + self.dropped,)

    def layer_means(self, noise: Tensor) -> tuple[Tensor, ...]:
        """E_q[z], ``[B, 1, 1, D]``."""
        return self.normal.layer_means(noise)

    def sample(self, noise: Tensor) -> Tensor:
        """Noise ``[B, M, K, D + L]`` to samples of the same shape."""
        latent = self.normal.loc.shape[-1]
        return torch.cat([self.normal.sample(noise[..., :latent]), noise[..., latent:]], dim=-1)

    def log_prob(self, z: Tensor) -> Tensor:
        """Samples ``[B, M, K, D + L]`` to log q(z|x) ``[B, M, K]``."""
        return self.normal.log_prob(z[..., : self.normal.loc.shape[-1]])

    def detached(self) -> Self:
        """The same density with its parameters held constant."""
        return replace(self, normal=self.normal.detached())


class Sentence(StandardNormalPrior):
    """log p(x|z) = sum over words and the end of log softmax(W h_t + b)[x_t], h_t of an LSTM given word t - 1 and z.

    The encoder's last state gives location and scale (softplus) of z; a step on padding leaves the state as it is, so that
    nothing depends on how far sentences are padded. The decoder starts from tanh of a linear layer of z. Padding is no word
    and has probability 0, so probabilities of sentences of up to L words, and of beginnings of L words, sum to 1.

    With a vocabulary of 2,523, embed 128, hidden 256, latent 32 it has 2,148,891 parameters (inference 733,632).

    Args:
        words: the vocabulary, ``core.tokens.SPECIAL`` first.
        length: L, numbers to a sentence: its words, the end, padding.
        options: see ``SentenceOptions``.
    """

    unrolled = True

    def __init__(self, words: tuple[str, ...], length: int, options: SentenceOptions) -> None:
        super().__init__()
        self.words, self.length, self.latent, self.keep = words, length, options.latent, options.keep
        embed, hidden, count = options.embed, options.hidden, len(words)
        self.encoder_words, self.encoder = nn.Embedding(count, embed), Lstm(embed, hidden)
        self.proposal_of = nn.Linear(hidden, 2 * options.latent)
        self.decoder_words, self.decoder = nn.Embedding(count, embed), Lstm(embed, hidden)
        self.decoder_latent = nn.Linear(options.latent, 4 * hidden, bias=False)
        self.start = nn.Linear(options.latent, 2 * hidden)
        self.output = nn.Linear(hidden, count)

    @property
    def _dropped(self) -> int:
        return self.length if 0 < self.keep < 1 else 0

    def encode(self, x: Tensor) -> Posterior:
        """Token numbers ``[B, L]`` to a normal proposal over D latents."""
        tokens = x.long()
        h = c = self.output.weight.new_zeros(*x.shape[:-1], self.encoder.width)
        steps = zip(_steps(self.encoder_words, tokens), (tokens != PAD)[..., None].unbind(dim=-2), strict=True)
        for word, on in steps:
            after = self.encoder(self.encoder.input(word), h, c)
            h, c = (torch.where(on, new, old) for new, old in zip(after, (h, c), strict=True))
        loc, raw_scale = self.proposal_of(h).chunk(2, dim=-1)
        normal = DiagonalNormal(loc, softplus(raw_scale))
        return WithDropout(normal, self._dropped) if self._dropped else normal

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """x ``[B, 1, 1, L]``, z ``[B, M, K, D]`` (behind it what drops words) to ``[B, M, K]``."""
        return self.log_prior(z) + self.log_likelihood(x, z)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z), nats per sentence: x ``[B, 1, 1, L]``, z ``[B, M, K, D]`` to ``[B, M, K]``.

        Word by word: products of all words at once are no faster, and their last bits depend on how many there are.
        """
        tokens = x.long()
        given = self._given(tokens, z[..., self.latent :])
        h, c, from_z = self._begin(z)
        total = z.new_zeros(z.shape[:-1])
        for before, word in zip(_steps(self.decoder_words, given), tokens.unbind(dim=-1), strict=True):
            h, c = self.decoder(self.decoder.input(before) + from_z, h, c)
            total = total + self._log_prob(h, word)
        return total

    def _given(self, tokens: Tensor, drops: Tensor) -> Tensor:
        """The word before each, ``[..., L]``, ``EOS`` before the first; unknown where it is dropped."""
        given = torch.cat([torch.full_like(tokens[..., :1], EOS), tokens[..., :-1]], dim=-1)
        if self.keep == 1 or (self.keep > 0 and not (self.training and drops.shape[-1])):
            return given
        unknown = torch.full_like(given[..., 1:], UNK)
        if self.keep > 0:
            unknown = torch.where(self._kept(drops[..., 1:]), given[..., 1:], unknown)
        return torch.cat([given[..., :1].expand(*unknown.shape[:-1], 1), unknown], dim=-1)

    def _kept(self, drops: Tensor) -> Tensor:
        kept: Tensor = torch.special.ndtr(drops) < self.keep
        return kept

    def _begin(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The decoder's first state and cell, and what z puts into its gates at every step."""
        z = z[..., : self.latent]
        h, c = torch.tanh(self.start(z)).chunk(2, dim=-1)
        return h, c, self.decoder_latent(z)

    def _log_prob(self, state: Tensor, tokens: Tensor) -> Tensor:
        """Log probability of the next word ``[...]`` after a state ``[..., H]``, 0 of padding: ``[...]``."""
        logs = log_softmax(self.output(state)[..., EOS:], dim=-1)
        tokens = tokens.expand(logs.shape[:-1])
        own = logs.gather(-1, (tokens - EOS).clamp(min=0)[..., None])[..., 0]
        return torch.where(tokens == PAD, torch.zeros_like(own), own)

    def log_prior(self, z: Tensor) -> Tensor:
        """log N(z; 0, I), of the latents alone: ``[..., D]`` to ``[...]``."""
        return standard_normal_log_prob(z[..., : self.latent])

    def kl_to_prior(self, posterior: Posterior, z: Tensor) -> Tensor:
        """KL(q(z|x), N(0, I)), ``[B, 1, 1]``, nats."""
        return super().kl_to_prior(posterior.normal if isinstance(posterior, WithDropout) else posterior, z)

    @property
    def prior_size(self) -> int:
        """D, and L behind it where words are dropped."""
        return self.latent + self._dropped

    @property
    def dream_size(self) -> int:
        """``L + prior_size``: first the noise of the words, then that of z."""
        return self.length + self.prior_size

    def dream(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Noise ``[..., L + prior_size]`` to token numbers ``[..., L]`` and z."""
        z = self.from_prior(noise[..., self.length :])
        return self.decode(z, noise[..., : self.length]).to(z.dtype), z

    @torch.no_grad()
    def decode(self, z: Tensor, noise: Tensor | None = None) -> Tensor:
        """Sentences of latents: word by word the most probable one, or one drawn.

        Args:
            z: ``[..., D]``; behind it may be what drops words in training.
            noise: standard normal ``[..., L]``, to draw words with; None: the most probable, of equals that of the smaller
                number.

        Returns:
            Token numbers ``[..., L]``, int64: words, the end, padding. One that has not ended after L words is cut off.
        """
        h, c, from_z = self._begin(z)
        drops = z[..., self.latent :]
        word = torch.full(z.shape[:-1], EOS, device=z.device)
        over, found = torch.zeros_like(word, dtype=torch.bool), []
        for t in range(self.length):
            if t:
                word = self._given(word[..., None].expand(*word.shape, 2), drops[..., t - 1 : t + 1])[..., 1]
            h, c = self.decoder(self.decoder.input(self.decoder_words(word)) + from_z, h, c)
            logits = self.output(h)[..., EOS:]
            word = EOS + (logits.argmax(dim=-1) if noise is None else _drawn(logits, noise[..., t]))
            word = torch.where(over, torch.full_like(word, PAD), word)
            over = over | (word == EOS)
            found.append(word)
        return torch.stack(found, dim=-1)

    def texts(self, tokens: Tensor) -> list[str]:
        """Token numbers ``[n, L]`` as n texts."""
        return [readable(self.words, sentence) for sentence in tokens.long().tolist()]


def _steps(embedding: nn.Embedding, tokens: Tensor) -> tuple[Tensor, ...]:
    """The vectors of words ``[..., L]``, one tensor ``[..., E]`` for each step.

    They are looked up together, for each look-up has a gradient as large as the vocabulary. Each lies in one piece, so that
    products with it are the same to the bit however many others there are.
    """
    return embedding(tokens.movedim(-1, 0)).unbind(dim=0)  # type: ignore[no-any-return]


def _drawn(logits: Tensor, noise: Tensor) -> Tensor:
    """Numbers drawn by inversion with uniforms Phi(noise): logits ``[..., V]``, noise ``[...]`` to ``[...]``."""
    sums = logits.double().softmax(dim=-1).cumsum(dim=-1)
    level = torch.special.ndtr(noise.double())[..., None] * sums[..., -1:]
    number: Tensor = (sums <= level).sum(dim=-1).clamp(max=logits.shape[-1] - 1)
    return number


def build(options: Mapping[str, Any], data: DataSummary, streams: Streams) -> Sentence:  # noqa: ARG001
    """A ``Sentence`` with torch's default initialisation.

    Raises:
        SpecError: an invalid option, or data that are no sentences.
    """
    data.require_words("sentence")
    parsed: SentenceOptions = parse_options(SentenceOptions, "sentence", options)
    return Sentence(data.words, data.mean.shape[0], parsed)
