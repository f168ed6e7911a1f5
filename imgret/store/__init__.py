"""Stores: the files that steps read and write. The only package that touches h5py.

`Store` opens one; `parts.Job` builds one that holds photos, part by part; `single.create` writes one in one go.
"""
