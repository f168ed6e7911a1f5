import functools
from imgret import images
from imgret.networks import views
class Loader:
    def __init__(self, looked, params, augment, seed, jobs):
        self.looked, self.params, self.augment, self.seed = looked, params, augment, seed
        self.read = functools.lru_cache(maxsize=4000)(self._read)
    def _read(self, n):
        return views.read(images.read_file(self.looked.paths[n]).data, self.params, 32).pixels
    def load(self, lists):
        for pairs in lists:
            yield [self.augment.view(self.read(n), v, (self.seed, self.looked.names[n])) for n, v in pairs]
    def close(self): pass
