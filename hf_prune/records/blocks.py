"""Blocks of neighbouring layers, and the distances across them."""

from collections.abc import Collection, Iterable

from hf_prune.records import Block, BlockDistance, Matrix


def best_blocks(distances: Matrix) -> tuple[BlockDistance, ...]:
    """For each block size, the block whose boundaries are nearest (Gromov et al., section 3.2).

    Args:
        distances: angular distances between boundaries, (layers + 1, layers + 1).
    """
    num_layers = len(distances) - 1
    best = []
    for size in range(1, num_layers):
        start = nearest_blocks(distances, size, range(num_layers))[0]
        block = Block(start=start, end=start + size)
        best.append(BlockDistance(size=size, block=block, distance=distances[block.start][block.end]))
    return tuple(best)


def nearest_blocks(distances: Matrix, size: int, allowed: Collection[int]) -> list[int]:
    """The starts of all blocks of `size` allowed layers, the one with the nearest boundaries first."""
    starts = block_starts(size, allowed, len(distances) - 1)
    return sorted(starts, key=lambda start: (distances[start][start + size], start))


def block_starts(size: int, allowed: Collection[int], num_layers: int) -> list[int]:
    """The starts of all blocks of `size` allowed layers, in order."""
    return [
        start
        for start in range(num_layers - size + 1)
        if all(layer in allowed for layer in range(start, start + size))
    ]


def all_but(layers: Collection[int], num_layers: int) -> tuple[int, ...]:
    """The layers of a model that are not among these, in order."""
    return tuple(layer for layer in range(num_layers) if layer not in layers)


def ranges(layers: Iterable[int]) -> str:
    """Layers as inclusive ranges: 0-19, 28-29."""
    return ", ".join(map(str, blocks_of(layers)))


def blocks_of(layers: Iterable[int]) -> tuple[Block, ...]:
    """Layers grouped into blocks of neighbours, in order."""
    blocks: list[Block] = []
    for layer in sorted(layers):
        if blocks and blocks[-1].end == layer:
            blocks[-1] = Block(start=blocks[-1].start, end=layer + 1)
        else:
            blocks.append(Block(start=layer, end=layer + 1))
    return tuple(blocks)
