import numpy as np
from imgret.miners.base import Miner
class Hard(Miner):
    name = "hard"
    def mine(self, queries, positives, vectors, pool, relations, count, seed):
        p = vectors(pool); out = np.full((len(queries), count), -1, np.int64)
        u = np.unique(queries); q = vectors(u)
        for i, photo in enumerate(queries):
            s = p @ q[np.searchsorted(u, photo)]
            s[np.isin(pool, relations.never(photo))] = -2
            seen=set(); k=0
            for j in np.argsort(-s, kind="stable"):
                if s[j] <= -2: break
                c = relations.clusters[pool[j]]
                if c in seen: continue
                seen.add(c); out[i,k]=pool[j]; k+=1
                if k==count: break
        return out
class SemiHard(Hard):
    name="semi-hard"
