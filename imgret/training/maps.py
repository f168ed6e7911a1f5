import numpy as np
class Maps:
    def __init__(self, folder, name, identity): self.d = {}
    def missing(self, pairs): return [p for p in pairs if p not in self.d]
    def add(self, pairs, arrays): self.d.update(zip(pairs, arrays))
    def get(self, pairs): return [self.d[p] for p in pairs]
class Vectors:
    def __init__(self, folder, name, count, dim): self.a = np.zeros((count, dim), np.float32)
    def write(self, rows, array): self.a[rows] = array
    def read(self, rows): return self.a[rows]
