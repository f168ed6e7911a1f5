"""Stores: the files that steps read and write. The only user of h5py, but for `formats.hloc`.

`reader.Store` opens one, `writer.Writer` makes one in a temporary file and publishes it; `photos.PhotoWriter` appends photos to one whose
kind holds photos; `parts` is how a long step makes one part by part. What may be in a file is in `layout`, in the words of `schema`.
"""
