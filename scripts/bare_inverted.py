"""The least that a search of an inverted file does: read signatures, xor, count bits, add up; compiled, for `bench_inverted.py`."""

import numba
import numpy as np

from imgret.memory import popcount


@numba.njit(cache=True, nogil=True)
def loop(starts, ends, asked, signatures):
    """The sum of the distances of lists' signatures, (E, 1 or 2), uint64, to what each list is asked."""
    total = np.int64(0)
    for number in range(len(starts)):
        first, last = asked[number, 0], asked[number, asked.shape[1] - 1]
        if signatures.shape[1] == 1:
            for entry in range(starts[number], ends[number]):
                total += popcount(signatures[entry, 0] ^ first)
        else:
            for entry in range(starts[number], ends[number]):
                total += popcount(signatures[entry, 0] ^ first) + popcount(signatures[entry, 1] ^ last)
    return total
