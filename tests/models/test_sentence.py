"""The sentence model against enumeration of every sentence of a small vocabulary, and the traps of its making."""

import itertools
import math

import pytest
import torch

from snrkit.core.tokens import EOS, PAD, SPECIAL, UNK
from snrkit.errors import SpecError
from snrkit.models.base import build_model
from snrkit.models.sentence import Sentence, SentenceOptions
from snrkit.models.summary import DataSummary
from snrkit.specs.run import ModelSpec
from tests.zoo import numbers, sentences

LENGTH, LATENT = 4, 3
WORDS = (*SPECIAL, "ark", "dove", "flood")


def model(keep=1.0, length=LENGTH, seed=0, words=WORDS):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = Sentence(words, length, SentenceOptions(embed=5, hidden=7, latent=LATENT, keep=keep)).double()
        with torch.no_grad():  # far from uniform
            for parameter in made.parameters():
                parameter.mul_(3)
    return made


def ended():
    """Every sentence of up to L - 1 words, with its end."""
    for count in range(LENGTH):
        for words in itertools.product(range(UNK, len(WORDS)), repeat=count):
            yield [*words, EOS, *[PAD] * (LENGTH - 1 - count)]


def every():
    """The same, and every beginning of L words."""
    yield from ended()
    yield from map(list, itertools.product(range(UNK, len(WORDS)), repeat=LENGTH))


def probabilities(own, z, found):
    x = torch.tensor(list(found), dtype=torch.float64)
    with torch.no_grad():
        return own.log_likelihood(x[:, None, None], z[None, None].expand(len(x), 1, *z.shape)).exp()[:, 0]


def test_probabilities_of_all_sentences_and_of_beginnings_sum_to_one():
    own, z = model(), numbers(1, 5, LATENT)
    torch.testing.assert_close(probabilities(own, z, every()).sum(0), torch.ones(5).double(), rtol=0, atol=1e-12)
    assert (probabilities(own, z, ended()).sum(0) < 1 - 1e-4).all()  # so the beginnings count


def plainly(own, x, z):
    """log q(z|x) and log p(x|z) of one sentence and one z by torch's own cells, a word at a time, until its end."""

    def cell(lstm, extra=None):
        made = torch.nn.LSTMCell(
            lstm.input.in_features + (0 if extra is None else extra.in_features), lstm.width
        ).double()
        weights = lstm.input.weight if extra is None else torch.cat([lstm.input.weight, extra.weight], 1)
        for name, value in (("weight_ih", weights), ("bias_ih", lstm.input.bias), ("weight_hh", lstm.state.weight)):
            getattr(made, name).copy_(value)
        made.bias_hh.zero_()
        return made

    reader, writer = cell(own.encoder), cell(own.decoder, own.decoder_latent)
    state = torch.zeros(1, 7).double(), torch.zeros(1, 7).double()
    h, c = torch.tanh(own.start(z))[None].chunk(2, -1)
    before, total = torch.tensor([EOS]), 0.0
    for word in x:
        state = reader(own.encoder_words(word[None]), state)
        h, c = writer(torch.cat([own.decoder_words(before), z[None]], -1), (h, c))
        scores = own.output(h)[0]
        total += scores[word] - scores[1:].logsumexp(0)
        before = word[None]
        if word == EOS:
            break
    loc, raw = own.proposal_of(state[0])[0].chunk(2)
    return torch.distributions.Normal(loc, torch.nn.functional.softplus(raw)).log_prob(z).sum(), total


@torch.no_grad()
def test_log_weights_are_those_of_torchs_own_cells():
    own, z = model(), numbers(11, 3, 2, 5, LATENT)
    x = torch.tensor([[3, 5, 1, 0], [1, 0, 0, 0], [4, 2, 4, 1]])
    posterior = own.encode(x.double())
    log_q, log_p = posterior.log_prob(z), own.log_likelihood(x.double()[:, None, None], z)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(own.log_joint(x.double()[:, None, None], z), log_p + prior)
    for b, m, k in itertools.product(range(3), range(2), range(5)):
        expected = plainly(own, x[b], z[b, m, k])
        torch.testing.assert_close((log_q[b, m, k], log_p[b, m, k]), expected, rtol=1e-12, atol=1e-12)


def test_more_padding_changes_nothing():
    short, long = model(), model(length=LENGTH + 3)
    long.load_state_dict(short.state_dict())
    x, z = torch.tensor([[3.0, 5, 1, 0], [1, 0, 0, 0], [4, 4, 4, 4]]), numbers(2, 3, 1, 6, LATENT)
    padded = torch.cat([x, torch.zeros(3, 3)], -1)
    assert torch.equal(short.log_likelihood(x[:, None, None], z), long.log_likelihood(padded[:, None, None], z))
    assert torch.equal(short.encode(x).loc, long.encode(padded).loc)
    # An end that is moved is no padding.
    assert not torch.equal(short.encode(x).loc, short.encode(x.roll(1, -1)).loc)


@pytest.mark.parametrize("training", [True, False])
def test_the_inputless_decoder_predicts_each_word_from_z_alone(training):
    """The sum of two sentences' likelihoods stays when their second halves are exchanged; with words given it does not."""
    z = numbers(3, 1, 1, 6, LATENT)
    one, two = torch.tensor([3.0, 4, 5, 1]), torch.tensor([5.0, 3, 3, 1])
    crossed = torch.cat([one[:2], two[2:]]), torch.cat([two[:2], one[2:]])

    def total(own, pair):
        return sum(own.log_likelihood(x[None, None, None], z) for x in pair)

    free, given = model(keep=0.0).train(training), model(keep=1.0).train(training)
    torch.testing.assert_close(total(free, (one, two)), total(free, crossed), rtol=0, atol=1e-12)
    assert (total(given, (one, two)) - total(given, crossed)).abs().min() > 1e-3


def test_words_are_dropped_in_training_only_and_never_the_first_input_or_a_target():
    own = model(keep=0.6)
    x, z = torch.tensor([[[[3.0, 4, 5, 1]]]]), numbers(4, 1, 1, 1, LATENT + LENGTH)
    kept, dropped = z.clone(), z.clone()
    kept[..., LATENT:], dropped[..., LATENT:] = -5.0, 5.0
    whole, free = model(keep=1.0), model(keep=0.0)
    for other in (whole, free):
        other.load_state_dict(own.state_dict())
    bare = z[..., :LATENT]
    assert torch.equal(own.train().log_likelihood(x, kept), whole.log_likelihood(x, bare))
    assert torch.equal(own.train().log_likelihood(x, dropped), free.log_likelihood(x, bare))
    assert torch.equal(own.eval().log_likelihood(x, dropped), whole.log_likelihood(x, bare))
    first = kept.clone()
    first[..., LATENT] = 5.0  # of the start symbol
    assert torch.equal(own.train().log_likelihood(x, first), own.log_likelihood(x, kept))


def test_the_share_of_kept_words_is_keep():
    own = model(keep=0.6, length=9).train()
    tokens, drops = torch.full((2000, 9), 3), numbers(5, 2000, 9)
    share = (own._given(tokens, drops)[:, 1:] == 3).double().mean()
    assert abs(share - 0.6) < 4 * math.sqrt(0.6 * 0.4 / (2000 * 8))


@pytest.mark.parametrize("keep", [1.0, 0.6, 0.0])
@pytest.mark.parametrize("training", [True, False])
def test_greedy_words_are_the_most_probable_of_the_likelihood(keep, training):
    """Word by word, among all that may follow, under the same drops."""
    own = model(keep=keep).train(training)
    z = numbers(6, 8, own.prior_size)
    for sentence, at in zip(own.decode(z).tolist(), z, strict=True):
        for place in range(LENGTH):
            if place and sentence[place - 1] in (EOS, PAD):
                assert sentence[place] == PAD
                continue
            options = [[*sentence[:place], word, *[PAD] * (LENGTH - place - 1)] for word in range(EOS, len(WORDS))]
            # What comes before is the same in all of them, and padding has no part in it.
            assert EOS + int(probabilities(own, at[None], options)[:, 0].argmax()) == sentence[place]


def test_of_equal_words_the_smaller_number_is_chosen():
    own = model()
    with torch.no_grad():
        own.output.weight.zero_()
        own.output.bias.zero_()
    assert own.decode(numbers(7, 2, LATENT)).tolist() == [[EOS, PAD, PAD, PAD]] * 2


def test_words_are_drawn_with_their_probabilities():
    """20,000 dreams at one z against p(x|z) of every sentence, in standard errors; against those of another z they fail."""
    own, draws = model(), 20_000
    z = numbers(8, 2, LATENT)
    drawn = own.decode(z[:1].expand(draws, LATENT), numbers(9, draws, LENGTH))
    place = {tuple(sentence): i for i, sentence in enumerate(every())}
    counts = torch.bincount(torch.tensor([place[tuple(s)] for s in drawn.tolist()]), minlength=len(place)).double()

    def worst(p):
        common = p * draws > 20
        return ((counts - p * draws).abs() / (draws * p * (1 - p)).sqrt())[common].max()

    right, wrong = probabilities(own, z, every()).T
    assert worst(right) < 4.5
    assert worst(wrong) > 10


def test_dreams_are_sentences_and_the_latent_that_made_them():
    own = model(keep=0.6).eval()
    noise = numbers(10, 5, own.dream_size)
    x, z = own.dream(noise)
    assert torch.equal(z, noise[:, LENGTH:])
    assert torch.equal(x.long(), own.decode(z, noise[:, :LENGTH]))
    assert x.dtype == z.dtype


@pytest.mark.parametrize(
    ("vocabulary", "length", "options", "inference", "generative"),
    [
        (2523, 21, {}, 733_632, 1_415_259),
        (10_000, 60, {"embed": 353, "hidden": 191, "latent": 13}, None, None),
    ],
)
def test_parameter_counts(vocabulary, length, options, inference, generative):
    words = (*SPECIAL, *map(str, range(vocabulary - 3)))
    own = build_model(
        ModelSpec(name="sentence", options=options), DataSummary(torch.zeros(length), True, words=words), 0
    )
    sizes = {name: parameter.numel() for name, parameter in own.named_parameters()}
    if inference is None:
        assert sum(sizes.values()) == 9_833_032
        return
    found = own.networks(torch.ones(2, length))
    by_network = {n: sum(sizes[name] for name, owner in found.items() if owner == n) for n in set(found.values())}
    assert by_network == {"inference": inference, "generative": generative}


def test_texts_are_words_up_to_the_end():
    own = model()
    assert own.texts(torch.tensor([[3, 2, 1, 0], [5, 4, 4, 3], [1, 0, 0, 0]])) == [
        "ark <unk>",
        "flood dove dove ark",
        "",
    ]


def test_models_and_data_that_do_not_go_together_are_refused():
    x, words = sentences()
    text, pixels = DataSummary(x.mean(0), True, words=words), DataSummary(torch.full((9,), 0.5), False)
    for name in ("mlp", "gaussian", "hierarchical", "random-weights", "sbn"):
        with pytest.raises(SpecError, match="the data are sentences; choose model sentence"):
            build_model(ModelSpec(name=name), text, 0)
    with pytest.raises(SpecError, match="the data are numbers; choose model mlp, or data sentences or text"):
        build_model(ModelSpec(name="sentence"), pixels, 0)
