"""The compiled loop that finds the nearest of a photo's descriptors for each of a query's, and the other way round, in whole numbers.

Descriptors are rounded to 7 bits, so that 32 products of them are one instruction where there is AVX2, and added up in 16 bits: nothing
overflows (`quantised`), nothing depends on the order, and every processor finds the same.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from imgret.compiled import compiled
from imgret.memory import place_of

ROWS, LANES, PANEL = 4, 16, 32  # descriptors of the query and of the photo that are multiplied at once; PANEL = 2 LANES
LOWEST = -(1 << 15)
SHIFT = 64  # what is added to numbers of either sign, which a query has to be rid of

_I16, _I32 = ir.VectorType(ir.IntType(16), LANES), ir.VectorType(ir.IntType(32), LANES)
_BYTES = ir.VectorType(ir.IntType(8), 2 * LANES)


def _halves(builder, vector, extend):
    """The even and the odd bytes of a vector, each as 16 numbers of 32 bits."""
    picked = []
    for first in range(2):
        mask = ir.Constant(_I32, [ir.Constant(ir.IntType(32), 2 * lane + first) for lane in range(LANES)])
        picked.append(extend(builder.shuffle_vector(vector, ir.Constant(_BYTES, ir.Undefined), mask), _I32))
    return picked


def _added(builder, sums, left, right):
    """`sums` and the products of neighbouring bytes, added in pairs: x86 has one instruction for what comes before the last addition."""
    ours, theirs = _halves(builder, left, builder.zext), _halves(builder, right, builder.sext)
    total = builder.add(*(builder.mul(one, other) for one, other in zip(ours, theirs, strict=True)))
    for name, bound in (("smax", -(1 << 15)), ("smin", (1 << 15) - 1)):  # never reached: it belongs to that instruction
        limit = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_I32, [_I32, _I32]), f"llvm.{name}.v{LANES}i32")
        total = builder.call(limit, [total, ir.Constant(_I32, [bound] * LANES)])
    return builder.add(sums, builder.trunc(total, _I16))


@intrinsic
def multiply(typing, asking, row, asked, panel, pairs, start, out, at, stride):
    """Products of `ROWS` descriptors with the `PANEL` of a panel, added to what is in `start`.

    `asking`: uint32, from item `row` on the pairs of columns of a descriptor, each twice, descriptor after descriptor. `asked`: uint8, from
    byte `panel` on `pairs` times the two columns of each descriptor of the panel. `start`: int16, from item `at` on, one for each of the
    panel. `out`: int16, the products from item `at` on, `stride` items further for each row.
    """

    def code(context, builder, signature, arguments):
        asking, row, asked, panel, pairs, start, out, at, stride = arguments
        kinds = signature.args
        word = ir.IntType(32)
        ours = [place_of(context, builder, kinds[0], asking, builder.add(row, builder.mul(pairs, pairs.type(n)))) for n in range(ROWS)]
        theirs = place_of(context, builder, kinds[2], asked, panel)
        begin = builder.bitcast(place_of(context, builder, kinds[5], start, at), _I16.as_pointer())
        firsts = [builder.load(builder.gep(begin, [word(half)]), align=2) for half in range(2)]
        before, body, after = builder.block, builder.append_basic_block("pairs"), builder.append_basic_block("done")
        builder.branch(body)
        builder.position_at_end(body)
        pair = builder.phi(pairs.type)
        pair.add_incoming(pairs.type(0), before)
        sums = [[builder.phi(_I16) for _ in range(2)] for _ in range(ROWS)]
        line = builder.bitcast(builder.gep(theirs, [builder.mul(pair, pairs.type(2 * PANEL))]), _BYTES.as_pointer())
        right = [builder.load(builder.gep(line, [word(half)]), align=1) for half in range(2)]
        following = builder.add(pair, pairs.type(1))
        for n in range(ROWS):
            item = builder.load(builder.gep(ours[n], [pair]))
            single = builder.insert_element(ir.Constant(ir.VectorType(word, LANES // 2), ir.Undefined), item, word(0))
            mask = ir.Constant(ir.VectorType(word, LANES // 2), [word(0)] * (LANES // 2))
            left = builder.bitcast(builder.shuffle_vector(single, single, mask), _BYTES)
            for half in range(2):
                sums[n][half].add_incoming(firsts[half], before)
                sums[n][half].add_incoming(_added(builder, sums[n][half], left, right[half]), body)
        pair.add_incoming(following, body)
        totals = [[phi.incomings[1][0] for phi in row] for row in sums]
        builder.cbranch(builder.icmp_signed("<", following, pairs), body, after)
        builder.position_at_end(after)
        for n in range(ROWS):
            to = place_of(context, builder, kinds[6], out, builder.add(at, builder.mul(stride, stride.type(n))))
            to = builder.bitcast(to, _I16.as_pointer())
            for half in range(2):
                builder.store(totals[n][half], builder.gep(to, [word(half)]), align=2)
        return context.get_dummy_value()

    index = types.intp
    return types.void(asking, index, asked, index, index, start, out, index, index), code


@compiled
def nearest(asking, ours, asked, theirs, best, scores, highest):
    """The nearest of a photo's descriptors for each of a query's, and the other way round: -|a - b|²/2 is the largest.

    Parameters
    ----------
    asking : ndarray, shape (n', pairs), uint32
        Of a query's n descriptors, n' a multiple of `ROWS`; see `multiply`.
    ours : ndarray, shape (n',), int16
        |a|²/2 of each.
    asked : ndarray, shape (panels, pairs, PANEL, 2), uint8
    theirs : ndarray, shape (panels · PANEL,), int16
        -|b|²/2 of each of the photo's m >= 1.
    best, scores : ndarray, shape (n,), int32, and (n, 2), int16
        Written: the nearest, the lowest number of equals, and -|a - b|²/2 of the nearest two; `LOWEST` where there are none.
    highest : ndarray, shape (m,), int16
        Written: -|a - b|²/2 of the nearest of the query's.
    """
    panels, pairs = asked.shape[:2]
    stride, count = panels * PANEL, len(highest)
    products = np.empty(ROWS * stride, np.int16)
    highest[:] = LOWEST
    flat, asked = asking.reshape(asking.size), asked.reshape(asked.size)
    for first in range(0, len(best), ROWS):
        for panel in range(panels):
            multiply(flat, first * pairs, asked, panel * pairs * PANEL * 2, pairs, theirs, products, panel * PANEL, stride)
        for row in range(first, min(first + ROWS, len(best))):
            line = products[(row - first) * stride : (row - first) * stride + count]
            less, top, second = ours[row], np.int16(LOWEST), np.int16(LOWEST)
            for column in range(count):
                value = np.int16(line[column] - less)
                line[column] = value
                top = max(top, value)
                highest[column] = max(highest[column], value)
            where, there = 0, False
            while not there and where + PANEL <= count:  # by so many at once, which is eight times as fast
                for column in range(where, where + PANEL):
                    there |= line[column] == top
                where += 0 if there else PANEL
            while line[where] != top:
                where += 1
            line[where] = LOWEST
            for column in range(count):
                second = max(second, line[column])
            best[row], scores[row, 0], scores[row, 1] = where, top, second
