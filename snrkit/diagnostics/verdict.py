"""Which coordinates of a gradient are not what they seem, since computers round."""

from dataclasses import dataclass

from snrkit.types import Mask


@dataclass(frozen=True)
class Verdict:
    """Which coordinates are not what they seem, ``[P]`` each.

    Attributes:
        zero: zero but for rounding.
        constant: others that are constant but for rounding.
        lost: genuine, but zero in the precision of the draws.
        few: genuine, but below its normal numbers, where digits are lost.
        dtype: name of that precision.
        unchecked: why zeros could not be told; empty if they were.
    """

    zero: Mask
    constant: Mask
    lost: Mask
    few: Mask
    dtype: str
    unchecked: str = ""

    def remark(self, block: slice) -> str:
        """What a reading of the block's ratios must say."""
        kinds = ((int(mask[block].sum()), name) for mask, name in ((self.zero, "zero"), (self.constant, "constant")))
        dropped = " and ".join(f"{count} {name}" for count, name in kinds if count)
        parts = [
            f"dropped {dropped} but for rounding" if dropped else "",
            "rounding not checked" if self.unchecked else "",
        ]
        return "; ".join(part for part in parts if part)
