"""Distances and scores of a model's layers, and the text that they were measured on."""

from dataclasses import dataclass

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTokens:
    """The identity of a text that was cut into windows of equal length, without its token ids.

    For an image encoder each window is an image, and its tokens are the image's patches.
    """

    name: str
    dataset: str | None  # its id on the Hub, if it has one
    num_sequences: int
    sequence_length: int
    num_tokens: int
    sha256: str  # of the token ids, or of the pixel values


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerScores:
    """The scores of one criterion. The layer with the lowest score goes first."""

    criterion: str  # its name for --method
    values: tuple[float, ...]
    text: TextTokens | None  # None: the criterion reads only weights


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalOrder:
    """The order in which a greedy search removes layers."""

    layers: tuple[int, ...]
    losses: tuple[float, ...]  # nats per token after each removal
    width: int | None  # how many candidates each step tried; None: all
    text: TextTokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """Distances between the residual stream at every pair of layer boundaries, and scores of layers.

    Boundary l is the input of layer l; boundary `num_layers` is the output of the last layer, before
    the final norm. Matrices are (num_layers + 1) x (num_layers + 1), symmetric.
    """

    num_layers: int
    calibration: TextTokens
    angular_last_token: Matrix  # Gromov et al., eq. 7: arccos / pi, at the last token (see compared_token)
    angular_all_tokens: Matrix  # the same, over `sampled_tokens` positions of all
    cosine_all_tokens: Matrix
    sampled_tokens: int  # how many tokens the two all-token matrices average
    layer_scores: tuple[LayerScores, ...]  # of every measured criterion
    removal_order: RemovalOrder | None = None  # None: there was no greedy search
    compared_token: str = "last"  # of each window; "first" for an encoder

    def scores(self, criterion: str) -> tuple[float, ...] | None:
        """A criterion's score of each layer; None: it was not measured."""
        return next((s.values for s in self.layer_scores if s.criterion == criterion), None)
