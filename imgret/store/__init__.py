"""Stores: the files that steps read and write. The only user of h5py, but for `formats.hloc`.

`Store` opens one; `parts.Job` builds one that holds photos, part by part; `single.create` writes one in one go.
"""
