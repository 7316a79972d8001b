"""What was measured of a model's layers, and on which text."""

from dataclasses import dataclass

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTokens:
    """A text cut into windows of equal length; the token ids themselves are not kept.

    For an encoder of images the windows are images, and their tokens are what the model makes of each.
    """

    name: str
    dataset: str | None  # its id on the Hub, where it has one
    num_sequences: int
    sequence_length: int
    num_tokens: int
    sha256: str  # of the token ids, or of the pixel values


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerScores:
    """What one criterion says of every layer: the one with the lowest score is the first to go."""

    criterion: str  # the name that --method knows it by
    values: tuple[float, ...]
    text: TextTokens | None  # what they were measured on; None where the weights alone were read


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalOrder:
    """Layers in the order in which a greedy search removes them."""

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
    layer_scores: tuple[LayerScores, ...]  # of every criterion that was measured
    removal_order: RemovalOrder | None = None  # of a greedy search, where one was made
    compared_token: str = "last"  # of each window; "first" in an encoder, whose last token says nothing more

    def scores(self, criterion: str) -> tuple[float, ...] | None:
        """What a criterion says of each layer; None where it was not measured."""
        return next((s.values for s in self.layer_scores if s.criterion == criterion), None)
