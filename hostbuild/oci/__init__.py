"""The values of the OCI image specification, parsed once, frozen; no files, network, processes or clock.

Import the modules: this package itself loads nothing.
"""
