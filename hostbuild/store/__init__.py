"""The store: blobs, recipe keys, locks, the image layout on disk, and build directories.

The only room that creates a blob under its final name, and the only importer of filelock.
"""
