"""Wheels: read, checked, and made into a layer's entries, for a machine that is not this one.

The room knows the wheel format (packaging.python.org, "Binary distribution format"), what a Python in an
image accepts, and how wheels come into the cache. It runs nothing and unpacks nothing on disk. It imports
packaging, and that late.

`target`       the Python in an image: its tags and its markers
`names`        which names may stand in a wheel, and the errors that name wheel and member
`archive`      the zip archive and its members
`members`      the bytes of one member
`metadata`     METADATA, WHEEL and entry_points.txt
`record`       RECORD, read and written
`wheel`        one wheel, read and checked
`scripts`      the commands that a wheel brings
`prefix`       where files go in the image
`install`      a wheel as entries of a layer; what two wheels both bring
`rewrite`      a wheel written anew: its bytes depend on its files alone
`elf`          what an ELF file says of itself
`machinecode`  the machine code in a wheel, and whether it fits a target
`loading`      what a base lacks for the machine code in wheels
`base_python`  the Python of a base image, by `interpreters`, `loader` (the dynamic one), `image_files` and
               `image_tree` (layers laid one over the other)
`credentials`  users and passwords for package indexes
`wanted`       what is to be fetched
`places`       servers and files that wheels come from
`fetch`        wheels into the cache, each once on this machine
"""
