"""What does NetVLAD as two matrix products take beside the usual loop over its words, forward and backward?

The peer is the module that is usually copied: for each word the residuals of all columns, a tensor of N C H W values, times their shares.
Each in a process of its own, in turn; time is the median of its passes in processor seconds, memory the peak of the process above what it
had after a pass over maps of one place, when all libraries are there. Then the nine regions of each photo: of one assignment, beside nine
passes of the layer over crops of the map.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import bench


def loop(x, weight, bias, centroids):
    """Word by word, as the usual modules go."""
    import torch
    from torch.nn import functional

    batch, channels = x.shape[:2]
    x = functional.normalize(x, dim=1)
    share = functional.conv2d(x, weight[:, :, None, None], bias).view(batch, len(weight), -1).softmax(dim=1)
    flat, found = x.view(batch, channels, -1), []
    for number in range(len(weight)):
        residual = flat - centroids[number][None, :, None]
        found.append((residual * share[:, number : number + 1]).sum(dim=-1))
    return functional.normalize(functional.normalize(torch.stack(found, dim=1), dim=2).flatten(1), dim=1)


def products(x, weight, bias, centroids):
    """imgret's."""
    from imgret.networks import pooling
    from imgret.networks.heads.netvlad import vlad

    return pooling.l2(vlad(x, weight, bias, centroids))


def head_of(weight, bias, centroids):
    """A head that has learned these."""
    from imgret.networks.heads.netvlad import BIAS, CENTROIDS, WEIGHT, NetVlad

    head = NetVlad(NetVlad.Params(clusters=len(weight)))
    head.learned = {WEIGHT: weight, BIAS: bias, CENTROIDS: centroids}
    return head


def regional(x, *learned):
    """The nine regions of one assignment."""
    return head_of(*learned).regional([x]).flatten(1)


def crops(x, *learned):
    """The nine regions one by one, as any head has them."""
    from imgret.networks.heads.base import VectorHead

    return VectorHead.regional(head_of(*learned), [x]).flatten(1)


def one_pass(x, *learned):
    """The head, of whole photos."""
    return head_of(*learned)([x])


WAYS = {"two products": products, "loop over words": loop, "one pass": one_pass, "regions of one map": regional, "regions as crops": crops}
PEERS = tuple(WAYS)[:2]

KEYS = "forward", "seconds", "megabytes"


def measure(how, arguments):
    """Print what a way takes, forward and backward, and its first numbers, as JSON."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = arguments.photos, arguments.channels, arguments.height, arguments.width
    leaves = [torch.rand(shape).requires_grad_()]
    leaves += [torch.randn(arguments.words, shape[1]).requires_grad_(), torch.randn(arguments.words).requires_grad_()]
    leaves += [torch.randn(arguments.words, shape[1]).mul(0.1).requires_grad_()]
    toward = torch.randn(shape[0], arguments.words * shape[1] * (9 if "regions" in how else 1))

    def once(maps):
        vectors = WAYS[how](maps, *leaves[1:])
        return vectors, torch.autograd.grad((vectors * toward).sum(), [maps, *leaves[1:]])

    once(torch.rand(*shape[:2], 1, 1).requires_grad_())
    before, taken, forward = _peak(), [], []
    for _ in range(arguments.passes):
        start = time.process_time()
        vectors, gradients = once(leaves[0])
        taken.append(time.process_time() - start)
    megabytes = _peak() - before
    for _ in range(arguments.passes):
        start = time.process_time()
        with torch.no_grad():
            WAYS[how](*leaves)
        forward.append(time.process_time() - start)
    sums = [float(each.double().abs().sum()) for each in (vectors.detach(), *gradients)]
    print(json.dumps({"seconds": statistics.median(taken), "forward": statistics.median(forward), "megabytes": megabytes, "sums": sums}))


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _asked(how, given):
    done = subprocess.run([sys.executable, __file__, *given, "--way", how], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"photos": 6, "channels": 96, "height": 30, "width": 40, "words": 64, "passes": 15, "rounds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=value, help="(default: %(default)s)")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        measure(arguments.way, arguments)
        return
    found = {how: [] for how in WAYS}
    for _ in range(arguments.rounds):
        for how in WAYS:
            found[how].append(_asked(how, sys.argv[1:]))
    figures = {how: {key: statistics.median(one[key] for one in runs) for key in KEYS} for how, runs in found.items()}
    ours, peer = (found[how][0]["sums"] for how in PEERS)
    differ = max(abs(one - other) / other for one, other in zip(ours, peer, strict=True))
    size = f"{arguments.photos} maps of {arguments.channels} × {arguments.height} × {arguments.width}, {arguments.words} words"
    print(f"{size}, one thread; medians of {arguments.rounds} processes in turn")
    print(bench.machine("torch", "numpy") + "\n")
    rows = [
        [how, f"{1000 * one['forward']:.1f}", f"{1000 * one['seconds']:.1f}", f"{one['megabytes']:.0f}"] for how, one in figures.items()
    ]
    bench.table(["", "forward ms", "and backward", "MB"], rows)
    for key in KEYS:
        ours, peer = (figures[how][key] for how in PEERS)
        print(f"{key}, loop / products: {peer / ours:.1f}")
    print(f"sums of vectors and gradients differ by {differ:.1e} of themselves")


if __name__ == "__main__":
    main()
