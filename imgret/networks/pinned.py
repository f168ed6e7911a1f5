"""Arithmetic that comes out alike each time: one number of threads, and no algorithm that is chosen by the clock."""

import contextlib
import os


@contextlib.contextmanager
def pinned(threads):
    """Within the block torch works so; afterwards as before.

    Parameters
    ----------
    threads : int
        Of the processor. Two threads add up in another order than one.
    """
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which cuBLAS reads when it is first used
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # it would write to every tensor twice, at a third of the cost of a step; nothing here reads what it has not written
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.utils.deterministic.fill_uninitialized_memory = filled
        torch.backends.cudnn.benchmark = before[2]


def lower_is_faster():
    """Whether the processor multiplies in bfloat16 (AVX-512 BF16, AMX)."""
    try:
        with open("/proc/cpuinfo") as file:
            return any("avx512_bf16" in line or "amx_bf16" in line for line in file)
    except OSError:  # not Linux: it is not known
        return True
