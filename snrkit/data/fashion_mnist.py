"""Fashion-MNIST (Xiao, Rasul & Vollgraf 2017): articles of clothing, under the names of MNIST's files."""

import functools

from snrkit.data.base import Source
from snrkit.data.mnist import FILES, load

BY_HAND = (
    "put train-images-idx3-ubyte.gz and t10k-images-idx3-ubyte.gz of github.com/zalandoresearch/fashion-mnist into the "
    "folder fashion-mnist of your data folder, packed as they are (torchvision's FashionMNIST/raw there is found too)"
)

source = Source(
    name="fashion-mnist",
    description="Fashion-MNIST, 28x28 grey, 60,000 train / 10,000 test; Xiao, Rasul & Vollgraf 2017, MIT licence",
    kind="grey",
    load=functools.partial(load, "fashion-mnist", BY_HAND),
    files=FILES["fashion-mnist"][:2],
    by_hand=BY_HAND,
)
