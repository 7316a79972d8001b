"""Numbers, sizes and times as people read them."""

import math


def count(value: float) -> str:
    """A number of things: 134.5M."""
    return _scaled(value, ("", "k", "M", "B", "T"), 4)


def byte_size(num_bytes: float) -> str:
    """Bytes in decimal units: 269 MB."""
    return _scaled(num_bytes, (" B", " kB", " MB", " GB", " TB"), 3)


def _scaled(value: float, units: tuple[str, ...], digits: int) -> str:
    for unit in units[:-1]:
        rounded = float(f"{value:.{digits}g}")  # 999.96M is 1B, not 1000M
        if rounded < 1000:
            return f"{rounded:g}{unit}"
        value /= 1000
    return f"{value:.{digits}g}{units[-1]}"


def figure(value: float) -> str:
    """A measured figure in three or four digits: 43.2."""
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{min(max(digits, 0), 4)}f}" if abs(value) < 1e6 else f"{value:.3g}"


def short_number(value: float) -> str:
    """A round number, as on the axis of a picture: 0.003, 20, 1.2e6."""
    value = float(f"{value:.6g}")
    if value == 0 or 1e-4 <= abs(value) < 1e5:
        return f"{value:g}".replace("-", "\N{MINUS SIGN}")
    mantissa, exponent = f"{value:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}".replace("-", "\N{MINUS SIGN}")


def duration(seconds: float) -> str:
    """A time that was measured, in two units: 3 min 41 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def rough_duration(seconds: float) -> str:
    """A time that is estimated, in one unit: 80 s, 3 min, 2.1 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
