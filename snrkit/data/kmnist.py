"""Kuzushiji-MNIST (Clanuwat et al. 2018): old Japanese handwriting, under the names of MNIST's files."""

import functools

from snrkit.data.base import Source
from snrkit.data.mnist import FILES, load

BY_HAND = (
    "put train-images-idx3-ubyte.gz and t10k-images-idx3-ubyte.gz of github.com/rois-codh/kmnist into the folder kmnist of "
    "your data folder, packed as they are (torchvision's KMNIST/raw there is found too)"
)

source = Source(
    name="kmnist",
    description="Kuzushiji-MNIST, 28x28 grey, 60,000 train / 10,000 test; Clanuwat et al. 2018, CC BY-SA 4.0",
    kind="grey",
    load=functools.partial(load, "kmnist", BY_HAND),
    files=FILES["kmnist"][:2],
    by_hand=BY_HAND,
)
