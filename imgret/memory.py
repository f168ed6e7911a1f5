"""What compiled loops read and write without numpy's ways of indexing: a place is used as it is given, so whoever gives it has checked it.

Numba would look at each index for a negative one; and of bytes at any place it would make no number.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def place_of(context, builder, kind, array, at, bits=None):
    """The address of element `at`, of a number of so many bits where the array is of bytes."""
    pointer = builder.gep(context.make_array(kind)(context, builder, array).data, [at])
    return pointer if bits is None else builder.bitcast(pointer, ir.IntType(bits).as_pointer())


def _reads(bits, result):
    """`read(array, at)`: the little-endian number at byte `at` of an array of bytes, aligned or not."""

    @intrinsic
    def read(typing, array, at):
        def code(context, builder, signature, arguments):
            return builder.load(place_of(context, builder, signature.args[0], *arguments, bits), align=1)

        return result(array, types.intp), code

    return read


read_u8, read_u16, read_u32, read_u64 = (_reads(kind.bitwidth, kind) for kind in (types.uint8, types.uint16, types.uint32, types.uint64))


@intrinsic
def read_f32(typing, array, at):
    """The float at byte `at` of an array of bytes."""

    def code(context, builder, signature, arguments):
        pointer = place_of(context, builder, signature.args[0], *arguments, 32)
        return builder.bitcast(builder.load(pointer, align=1), ir.FloatType())

    return types.float32(array, types.intp), code


@intrinsic
def popcount(typing, number):
    """Bits that are set in a uint64."""

    def code(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), code


@intrinsic
def item(typing, array, at):
    """`array[at]`."""

    def code(context, builder, signature, arguments):
        return builder.load(place_of(context, builder, signature.args[0], *arguments))

    return array.dtype(array, types.intp), code


@intrinsic
def add(typing, array, at, value):
    """`array[at] += value`, of floats of one type."""

    def code(context, builder, signature, arguments):
        pointer = place_of(context, builder, signature.args[0], *arguments[:2])
        builder.store(builder.fadd(builder.load(pointer), arguments[2]), pointer)
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), code


LANES = 8


@intrinsic
def dot_half(typing, halves, at, asked, start, count):
    """The inner product of `count` float16 at byte `at` with as many float32 from `asked[start]` on; `count` is a multiple of 8.

    In eight sums, of every eighth column each, added in one order on every processor.
    """
    vector, half = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.HalfType(), LANES)

    def code(context, builder, signature, arguments):
        halves, at, asked, start, count = arguments
        left = place_of(context, builder, signature.args[0], halves, at)
        right = place_of(context, builder, signature.args[2], asked, start)
        before, body, after = builder.block, builder.append_basic_block("dot"), builder.append_basic_block("dotted")
        zero = ir.Constant(count.type, 0)
        builder.cbranch(builder.icmp_signed(">", count, zero), body, after)
        builder.position_at_end(body)
        place, sums = builder.phi(count.type), builder.phi(vector)
        place.add_incoming(zero, before)
        sums.add_incoming(ir.Constant(vector, [0.0] * LANES), before)
        two = builder.gep(left, [builder.shl(place, ir.Constant(count.type, 1))])
        theirs = builder.fpext(builder.load(builder.bitcast(two, half.as_pointer()), align=1), vector)
        ours = builder.load(builder.bitcast(builder.gep(right, [place]), vector.as_pointer()), align=1)
        added = builder.fadd(sums, builder.fmul(theirs, ours))
        following = builder.add(place, ir.Constant(count.type, LANES))
        place.add_incoming(following, body)
        sums.add_incoming(added, body)
        builder.cbranch(builder.icmp_signed("<", following, count), body, after)
        builder.position_at_end(after)
        total = builder.phi(vector)
        total.add_incoming(ir.Constant(vector, [0.0] * LANES), before)
        total.add_incoming(added, body)
        lanes = [builder.extract_element(total, ir.Constant(ir.IntType(32), lane)) for lane in range(LANES)]
        while len(lanes) > 1:
            lanes = [builder.fadd(one, other) for one, other in zip(lanes[::2], lanes[1::2], strict=True)]
        return lanes[0]

    return types.float32(halves, types.intp, asked, types.intp, types.intp), code


@intrinsic
def read_f16(typing, array, at):
    """The float16 at byte `at` of an array of bytes, as a float32."""

    def code(context, builder, signature, arguments):
        pointer = place_of(context, builder, signature.args[0], *arguments, 16)
        return builder.fpext(builder.bitcast(builder.load(pointer, align=1), ir.HalfType()), ir.FloatType())

    return types.float32(array, types.intp), code


@intrinsic
def put(typing, array, at, value):
    """`array[at] = value`, of the array's type."""

    def code(context, builder, signature, arguments):
        builder.store(arguments[2], place_of(context, builder, signature.args[0], *arguments[:2]))
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), code


@intrinsic
def fetch(typing, array, at):
    """Have the processor bring byte `at` near: of any place, there or not."""

    def code(context, builder, signature, arguments):
        number = ir.IntType(32)
        pointer = place_of(context, builder, signature.args[0], *arguments)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [pointer, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), code
