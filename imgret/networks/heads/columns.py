"""Every place of a map as a local feature."""

import numpy as np

from imgret.networks import pooling
from imgret.networks.heads.local import MapHead


class Columns(MapHead):
    """The columns of the maps, those of several layers put together; see `imgret.networks.pooling.columns`."""

    known_as = "columns"

    def look(self, outputs, finest, forward):
        """The local features of one view; see `MapHead`."""
        stride, first, _ = forward.field(finest)
        descriptors, strength = pooling.columns(outputs)
        rows, columns = outputs[finest].shape[2:]
        y, x = (axis.reshape(-1) * stride + first for axis in np.mgrid[:rows, :columns])
        # of several maps, a column sees what the map with the widest field sees
        side = np.full(len(x), max(forward.field(number)[2] for number in range(len(outputs))))
        return descriptors, strength, x, y, side
