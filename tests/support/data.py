"""Bytes of image files, and what a call says that must refuse its data."""

import numpy as np
import pytest

from snrkit.errors import SnrkitError


def idx(images, magic=b"\0\0\x08\x03"):
    return magic + np.array(images.shape, ">u4").tobytes() + images.tobytes()


def refusal(call):
    """The error message of a call that must fail: one line that ends in a remedy."""
    with pytest.raises(SnrkitError) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return str(caught.value)
