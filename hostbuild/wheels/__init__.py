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
`install`      a wheel as entries of a layer; what two wheels both bring
`elf`          what an ELF file says of itself
`machinecode`  the machine code in a wheel, and whether it fits a target
`credentials`  users and passwords for package indexes
`places`       servers and files that wheels come from
`fetch`        wheels into the cache, each once on this machine
"""
