"""Ground truths, ranked lists, measures, and the protocols that join them: names and arrays in, a `Result` out."""

from imgret.evaluation.protocols import PROTOCOLS

__all__ = ["PROTOCOLS"]
