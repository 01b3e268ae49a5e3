# SPDX-License-Identifier: GPL-2.0
"""Two histograms side by side, as text."""

WIDTH = 26
FULL, LEAST = "#", "."


def duration(nanoseconds):
    """A time of about two digits."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size:
            value = nanoseconds / size
            return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"
    return f"{nanoseconds:.0f} ns"


def bar(count, most):
    """As long as its part of the longest; what is there at all is seen."""
    length = round(count / most * WIDTH) if most else 0
    return FULL * length if length or not count else LEAST


def percentile(counts, share):
    """The power of two below which so much of all lies."""
    left = sum(counts.values()) * share
    for power, count in sorted(counts.items()):
        left -= count
        if left <= 0:
            return power
    return max(counts, default=0)


def side_by_side(titles, histograms):
    """Lines of text: a row for each power of two, a column for each histogram of counts by power."""
    powers = sorted({power for counts in histograms for power in counts})
    if not powers:
        return []
    lines = [f"  {'':>18}  " + "".join(f"{title:{WIDTH + 10}}" for title in titles).rstrip()]
    for power in range(powers[0], powers[-1] + 1):
        name = f"{duration(2 ** (power - 1))} to {duration(2 ** power)}"
        cells = []
        for counts in histograms:
            count = counts.get(power, 0)
            number = f"{count:,}" if count else ""
            cells.append(f"{bar(count, max(counts.values(), default=0)):{WIDTH}} {number:>8} ")
        lines.append(f"  {name:>18}  " + "".join(cells).rstrip())
    return lines
