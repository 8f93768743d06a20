"""Percentiles of times."""


def quantiles(values):
    """The 50th and the 99th, in milliseconds, of seconds."""
    values = sorted(values) or [0.0]
    return {f"p{q}_ms": round(values[min(int(len(values) * q / 100), len(values) - 1)] * 1e3, 3) for q in (50, 99)}
