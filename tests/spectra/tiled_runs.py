"""Small kernels, workers and folders that the tests of the tiled factor share."""

import random

import ntkscope as ntk
from ntkscope.engines import pool
from ntkscope.spectra.progress import Stage
from ntkscope.spectra.proof.certify import Shifted
from ntkscope.spectra.storage.source import as_source
from ntkscope.spectra.tiled.tiles import Tiles

N, WIDTH = 230, 64


def stage(name):
    return Stage(name, None)


def kernel(n=N):
    model = ntk.Network([12, 60, 40, 1], "relu", init="he").sample(seed=0)
    return ntk.empirical_ntk(model, ntk.data.gaussian(n, 12, seed=1))


class Shuffled:
    """Three workers that end in any order, in this process; ``stop`` interrupts before that step."""

    remote, copies, slots = True, 1, 3

    def __init__(self, seed=0, stop=None, far=False):
        self.random, self.waiting, self.left = random.Random(seed), [], stop
        self.copies = 0 if far else 1
        self.ran = []

    def submit(self, tag, function, *arguments):
        self.waiting.append((tag, function, arguments))

    def next(self):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        at = self.random.randrange(len(self.waiting))
        tag, function, arguments = self.waiting.pop(at)
        self.ran.append((function.__name__, tag))
        return tag, function(*arguments)

    def drop(self):
        self.waiting.clear()


def factored(K, folder, workers=None, width=WIDTH):
    tiles = Tiles(len(K), folder, workers or pool.Here(), width)
    taken = tiles.decompose(Shifted(as_source(K), 0.0), stage)
    assert taken is not None
    return tiles, taken


def tiles_in(folder):
    return {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*.tile")}
