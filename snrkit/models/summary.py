"""What a model may know of the training data when it is built."""

from dataclasses import dataclass

from torch import Tensor

from snrkit.errors import SpecError


@dataclass(frozen=True)
class DataSummary:
    """What a model may know of the training data when it is built.

    Attributes:
        mean: mean of each input dimension over the training set, shape ``[P]``, float64; grey values lie in [0, 1].
        real: True for real-valued data (and for numbers of words), False for images with values in [0, 1].
        numbers: what real-valued data are, with their range, in words for an error message.
        remedy: what makes them pixels.
        image_shape: (height, width) if a row is an image in row-major order, else None.
        words: of sentences, the vocabulary: a word's place is its number, and ``P`` the length that they are padded to.
    """

    mean: Tensor
    real: bool
    numbers: str = ""
    remedy: str = ""
    image_shape: tuple[int, int] | None = None
    words: tuple[str, ...] = ()

    def require_pixels(self, model: str) -> None:
        """See to it that the data are pixels.

        Raises:
            SpecError: they are real-valued, or sentences.
        """
        self._refuse_words(model, "pixels in [0, 1]")
        if self.real:
            remedy = f"{self.remedy}, or choose model gaussian" if self.remedy else "choose model gaussian"
            numbers = f" ({self.numbers})" if self.numbers else ""
            problem = f"{model} models pixels in [0, 1], and the data are real-valued{numbers}"
            raise SpecError("model", problem, remedy)

    def require_image(self, model: str) -> tuple[int, int]:
        """(height, width) of the images that the data are.

        Raises:
            SpecError: they are rows of numbers, of which no height and width are known.
        """
        if self.image_shape is None:
            problem = (
                f"{model} needs images of a known height and width, and the data are rows of {len(self.mean)} numbers"
            )
            raise SpecError("model", problem, "choose mlp, or data whose points are stored as [height, width]")
        return self.image_shape

    def require_numbers(self, model: str) -> None:
        """See to it that the data are numbers, not words.

        Raises:
            SpecError: they are sentences.
        """
        self._refuse_words(model, "real numbers")

    def _refuse_words(self, model: str, models: str) -> None:
        if self.words:
            raise SpecError("model", f"{model} models {models}, and the data are sentences", "choose model sentence")

    def require_words(self, model: str) -> None:
        """See to it that the data are sentences.

        Raises:
            SpecError: they are not.
        """
        if not self.words:
            remedy = f"choose model {'gaussian' if self.real else 'mlp'}, or data sentences or text"
            raise SpecError("model", f"{model} models sentences, and the data are numbers", remedy)
