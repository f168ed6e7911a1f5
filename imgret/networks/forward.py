"""Photos through a network: what heads work on."""

from imgret.networks import fields, views


class Forward:
    """A network with the parameters by which it is shown photos.

    Parameters
    ----------
    backbone : imgret.networks.backbones.base.Backbone
    params : Params
        `channels`, `range`, `mean`, `std` (both known), `max_size`, `scales`, `flip`, `batch`.
    """

    def __init__(self, backbone, params):
        self.backbone, self.params = backbone, params
        self._fields = {}

    def outputs(self, photos):
        """What the layers give for photos of one shape, as they are."""
        return self.backbone(views.tensor(photos, self.params, self.backbone.device))

    def views(self, photos):
        """Yield the layers' outputs and the size of the view as a share of the photo, at every scale, and mirrored where asked for."""
        x = views.tensor(photos, self.params, self.backbone.device)
        for view, factor in views.looks(x, self.params, self.backbone.least):
            yield self.backbone(view), factor

    def located(self, photos):
        """Yield the keypoints of each photo, the size of the view as a share of the photo, and its height and width, at every scale."""
        x = views.tensor(photos, self.params, self.backbone.device)
        for view, factor in views.looks(x, self.params, self.backbone.least):
            yield self.backbone.located(view), factor, tuple(view.shape[2:])

    def field(self, number):
        """Stride, first centre and size of the receptive field of a layer, by its number; see `imgret.networks.fields`."""
        if number not in self._fields:
            self._fields[number] = fields.receptive_field(self.backbone, self.backbone.layers[number])
        return self._fields[number]
