"""What scripts/debian_base is made of.

`sources`   where this machine's apt finds a Debian release
`apt`       a private apt for one architecture: which packages belong together, and their verified files
`tree`      the packages' files as entries of layers, and the little that maintainer scripts would have done
`images`    entries to layers, images, one index, one layout
"""
